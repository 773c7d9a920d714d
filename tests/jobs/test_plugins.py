"""Interventions and scorers that modules of the user's own register go through a whole run.

Most of it in processes of its own: an intervention stays registered in the process that has loaded it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import score
from models.scorers import registry
from pipelines.config import plugins
from pipelines.errors import UserError
from tests.conftest import ROOT, user_env
from tests.support.job import write_job

PLUGINS = ("tests.support.third_party", "tests.support.light")
SCORERS = '[{name="light", kind="light", options={weight=2.0}}]'
ARMS = '[{name="stock"}, {name="quiet", louder={factor=0.5}, tora=true}, {name="loud", louder=true}]'


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=user_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_job(folder, tiny_pipeline, tiny_clip, [{"prompt": "a red square"}, {"prompt": "a dot"}])
    settings = (f"run.plugins={json.dumps(PLUGINS)}", f"arms={ARMS}", "louder.factor=3.0", f"scorers={SCORERS}")
    overrides = [word for setting in settings for word in ("--set", setting)]
    python("jobs/synth.py", "--config", str(folder / "run.toml"), *overrides, "--set", "selection.rank_by=light")
    return folder / "out"


def test_its_settings_are_in_the_rows(out: Path) -> None:
    rows = pq.read_table(out / "data").to_pylist()
    quiet, loud = ({"factor": factor, "rows": "all", "blocks": [0.0, 1.0]} for factor in (0.5, 3.0))
    assert {row["arm"]: row["louder"] for row in rows} == {"stock": None, "quiet": quiet, "loud": loud}
    assert [row["arm"] for row in rows if row["tora"] is not None] == ["quiet"] * 6
    assert all(row["repulsion"] is None for row in rows)
    moved = {row["arm"]: row["displacement"]["louder"] for row in rows}
    assert moved == {"stock": None, "quiet": pytest.approx(0.5), "loud": pytest.approx(2.0)}
    first = {row["arm"]: row["image_id"] for row in rows if (row["prompt"], row["index_in_group"]) == ("a dot", 0)}
    assert len({*first.values()}) == 3


def test_the_scorer_has_its_columns_and_ranks(out: Path) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(out / "data").to_pylist():
        assert 0 < row["light_clip_score"] < 2
        assert row["light_contrast"] > 0
        groups.setdefault(row["group_id"], []).append(row)
    for group in groups.values():
        ranked = sorted(group, key=lambda row: row["rank_in_group"])
        assert ranked == sorted(group, key=lambda row: -row["light_clip_score"])
    assert "light_contrast" in (out / "gallery.html").read_text()


def test_a_finished_run_is_scored_by_it(
    out: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, PLUGINS[1], raising=False)  # as in a process that does not know of it
    monkeypatch.setattr(registry, "_registered", {})
    arguments = ("--dataset", str(out), "--scorer", "lamp", "--plugin", PLUGINS[1], "--set", "scoring.kind=light")
    assert score.main([*arguments]) == 0
    assert "lamp: 18 images scored in 2 shards, 0 groups failed" in capsys.readouterr().out
    own, beside = pq.read_table(out / "data"), pq.read_table(out / "scores" / "lamp" / "data")
    twice = np.array(own["light_clip_score"]) / np.array(beside["lamp_clip_score"])
    assert np.allclose(twice, 2.0)


def test_its_rows_are_made_again_byte_for_byte(out: Path) -> None:
    assert "18 images made again, 18 identical" in python("jobs/replay.py", "--dataset", str(out))


def test_people_see_it(out: Path) -> None:
    page = (out / "gallery.html").read_text()
    assert "with TORA and louder &lt;text&gt;" in page
    details = json.loads(page.partition('id="details"')[2].partition(">")[2].partition("</script>")[0])
    assert ["Louder <text>", "louder"] in details["interventions"]
    assert {group["louder"]["factor"] for group in details["groups"] if group["louder"]} == {0.5, 3.0}
    assert (
        "| `louder` | `struct` | all settings of louder text; null where it is off |" in (out / "README.md").read_text()
    )


def test_another_module_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"run\.plugins: 'not\.there' cannot be imported: ModuleNotFoundError"):
        plugins.load(["not.there"])


def test_the_endpoint_takes_it(tiny_pipeline: str) -> None:
    code = f"""
from pipelines.serve import page
from pipelines.serve.requests import job_of
from pipelines.serve.response_schema import response_model
from pipelines.serve.schema import ImageRequest, request_model
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs
args = ServeArgs(model={tiny_pipeline!r}, plugins={PLUGINS!r}, size="16x16")
serving = resolve(args)
asked = request_model(args, serving, ImageRequest)(prompt="a dot", louder={{"factor": 2.5}})
job, _ = job_of(asked, args, serving)
print(job.group.interventions, "louder" in response_model().model_json_schema()["$defs"]["GroupReportHere"]["required"])
print(serving.ranks(args).plugins == args.plugins)
print('id="louder.factor"' in page.html(), "Louder &lt;text&gt; <small>makes text &amp; tokens longer" in page.html())
"""
    assert python("-c", code).splitlines() == [
        "(LouderConfig(factor=2.5, rows='all', blocks=(0.0, 1.0)),) True",
        "True",
        "True True",
    ]
