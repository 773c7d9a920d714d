"""The end of a run: four files and a summary from what lies in the output folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.dataset.progress_json import ProgressFile, Snapshot
from pipelines.flows.finish import finish
from tests.support.toy_run import Toy, write_run

WRITTEN = ("manifest.json", "report.json", "README.md", "gallery.html")


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(fail_every=7))
    finish(output)
    first = {name: output.read_bytes(name) for name in WRITTEN}
    finish(output)
    assert {name: output.read_bytes(name) for name in WRITTEN} == first


def test_timings_change_the_report_alone_and_there_one_key(tmp_path: Path) -> None:
    output = write_run(tmp_path)
    finish(output)
    first = {name: output.read_bytes(name) for name in WRITTEN}
    progress = ProgressFile(output, images=96, done=0, workers={"generate": 2})
    with progress.session():
        progress.update(Snapshot(stages={"write": 96}, made=96, busy_seconds={"generate.denoise": 48.0}))
    finish(output)
    changed = [name for name in WRITTEN if output.read_bytes(name) != first[name]]
    assert changed == ["report.json"]
    report = json.loads(output.read_bytes("report.json"))
    timings = report.pop("timings")
    assert (timings["sessions"], timings["images"], timings["busy_seconds"]) == (1, 96, {"generate.denoise": 48.0})
    assert report == json.loads(first["report.json"])


def test_summary(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=8, fail_every=5, bad_prompts=2))
    summary = finish(output)
    assert summary.complete
    assert (summary.groups_planned, summary.groups_failed, summary.prompts_failed) == (32, 6, 2)
    assert (summary.images_kept, summary.images_rejected) == (78, 26)
    assert summary.gallery == str(tmp_path / "gallery.html")
    by_arm = {arm.arm: arm for arm in summary.arms}
    assert list(by_arm) == ["base", "tora", "repulsion", "both"]
    base, both = by_arm["base"], by_arm["both"]
    assert base.group_vendi.mean is not None
    assert both.group_vendi.mean is not None
    assert 1 < base.group_vendi.mean < both.group_vendi.mean < 4


@pytest.mark.parametrize(
    "toy",
    [
        Toy(prompts=3, fail_every=1),
        Toy(prompts=3, size=1),
        Toy(prompts=3, arms=("base",), counterfactuals=False),
    ],
    ids=["everything failed", "groups of one", "one arm"],
)
def test_runs_at_the_edge(tmp_path: Path, toy: Toy) -> None:
    output = write_run(tmp_path, toy)
    summary = finish(output)
    assert summary.complete
    report = json.loads(output.read_bytes("report.json"))
    assert ("NaN" in json.dumps(report)) is False
    if toy.fail_every:
        assert summary.images_kept == 0
        assert summary.arms[0].clip_score.mean is None
        assert "No images." in output.read_bytes("gallery.html").decode()
    if toy.size == 1:
        assert summary.arms[0].group_vendi.mean == pytest.approx(1.0)
        assert summary.arms[0].pair_vendi.mean is None
    if not toy.counterfactuals:
        assert summary.arms[0].clip_margin.mean is None


def test_finishing_needs_neither_torch_nor_ray() -> None:
    heavy = "{'torch', 'ray', 'diffusers', 'datasets'}"
    code = f"import sys, pipelines.flows.finish; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
