"""The small JSON files of a folder: records made before are read, equal records have equal bytes, damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.recorded import recorded
from pipelines.config.tables import RayOptions, Run
from pipelines.dataset import manifest_json, records, report_json, run_json
from pipelines.dataset.finished import open_finished
from pipelines.dataset.progress_json import ProgressFile, Snapshot, timings
from pipelines.dataset.run_json import PlanInputs, PromptFile, RunRecord, Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.layout import OutputFile
from pipelines.export.record import ExportRecord
from pipelines.export.rows import Piece
from pipelines.flows.finish import finish
from tests.support.toy_run import Toy, write_run

RUN = """{
  "schema_version": 2,
  "fingerprint": "fe6c",
  "config": {
    "run": {
      "output": "out/demo",
      "name": "Raydiance démo",
      "seed": 7
    },
    "selection": {
      "min_margin": "-inf"
    },
    "ray": {
      "rank_timeout_s": 600
    }
  },
  "libraries": {
    "ray": "2.60.0"
  },
  "plan": {
    "prompts": 6,
    "bad_prompts": 0,
    "dropped": 0,
    "groups": 12,
    "images": 48,
    "segments": [
      {
        "first": 0,
        "shards": 6
      }
    ]
  },
  "plan_made_from": {
    "prompt_files": [
      {
        "bytes": 407,
        "sha256": "599f"
      }
    ],
    "prompts.format": "auto",
    "prompts.limit": 0,
    "group.groups_per_prompt": 1
  }
}
"""
"""As the first release wrote it."""

EXPORT = (
    '{"export": {"schema_version": 2, "fingerprint": "fe6c", "images": "ab", "arms": ["base"], "embeddings": false, '
    '"scores": {"b32": {"schema_version": 2, "fingerprint": "fe6c", "scoring": {"model": "ViT-B-32"}, "embeddings": '
    'true}}, "format": "webdataset", "rejected": false, "shard_bytes": 40960, "license": "other"}, "image_endings": '
    '["png"], "files": {"train": [{"rows": 2, "bytes": 90, "pieces": [["data/shard-000000.parquet", 0, 2]]}]}}\n'
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    finish(write_run(folder, Toy(prompts=4, fail_every=5, side=16)))
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "own"))


def test_a_run_of_an_earlier_release_is_read_and_written_the_same(tmp_path: Path) -> None:
    output = Storage.open(tmp_path)
    output.write_bytes("run.json", RUN.encode())
    run = run_json.read(output)
    assert run.plan is not None
    assert (run.plan.segments, run.plan.shards) == ((Segment(first=0, shards=6),), 6)
    files = (PromptFile(bytes=407, sha256="599f"),)
    assert run.plan_made_from == PlanInputs(prompt_files=files, format="auto", limit=0, groups_per_prompt=1)
    assert recorded(run, "run", Run).name == "Raydiance démo"
    assert recorded(run, "ray", RayOptions) == RayOptions(rank_timeout_s=600.0)
    run_json.write(output, run)
    assert output.read_bytes("run.json") == RUN.encode()


def test_an_export_of_an_earlier_release_is_read_and_written_the_same(tmp_path: Path) -> None:
    output = Storage.open(tmp_path)
    export = records.parse(EXPORT.encode(), ExportRecord, file="export.json", advice="")
    pieces = (Piece(file="data/shard-000000.parquet", first=0, end=2),)
    assert export.files == {"train": (OutputFile(rows=2, bytes=90, pieces=pieces),)}
    records.write(output, "export.json", export, indent=None)
    assert output.read_bytes("export.json") == EXPORT.encode()


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("run.json", lambda o: run_json.write(o, run_json.read(o))),
        ("report.json", lambda o: report_json.write(o, report_json.read(o, ""))),
        ("manifest.json", lambda o: manifest_json.write(o, manifest_json.read(o, ""))),
    ],
)
def test_what_was_read_is_written_the_same(name: str, again: Callable[[Storage], None], own: Path) -> None:
    before = (own / name).read_bytes()
    again(Storage.open(own))
    assert (own / name).read_bytes() == before


def test_keys_of_a_later_release_are_passed_over() -> None:
    later = {**json.loads(RUN), "new": {"key": 1}}
    assert records.parse(json.dumps(later).encode(), RunRecord, file="f", advice="") == records.parse(
        RUN.encode(), RunRecord, file="f", advice=""
    )


def _lose(content: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


def _set(content: Any, value: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("run.json", lambda c: _lose(c, "fingerprint"), "the key 'fingerprint' is missing"),
        ("run.json", lambda c: _lose(c, "plan", "groups"), "the key 'plan.groups' is missing"),
        ("run.json", lambda c: _lose(c, "plan_made_from", "prompts.limit"), "'plan_made_from.prompts.limit' is miss"),
        ("run.json", lambda c: _set(c, "many", "plan", "images"), "plan.images = 'many' must be a whole number"),
        ("run.json", lambda c: _set(c, [1], "plan", "segments"), "plan.segments[0] = 1 must be a table"),
        ("manifest.json", lambda c: _lose(c, "totals"), "the key 'totals' is missing"),
        ("manifest.json", lambda c: _set(c, 1, "complete"), "complete = 1 must be true or false"),
        ("manifest.json", lambda c: _lose(c, "files", 0, "sha256"), "the key 'files[0].sha256' is missing"),
        ("report.json", lambda c: _lose(c, "by_arm", 1, "clip_score", "mean"), "'by_arm[1].clip_score.mean' is miss"),
        ("report.json", lambda c: _set(c, "x", "by_arm", 0, "kept"), "by_arm[0].kept = 'x' must be a whole number"),
    ],
)
def test_damage_is_named_with_what_to_do(name: str, damage: Callable[[Any], None], words: str, own: Path) -> None:
    content = json.loads((own / name).read_bytes())
    damage(content)
    (own / name).write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        open_finished(Storage.open(own))
    message = str(error.value)
    assert f"{own}/{name}: " in message
    assert words in message
    assert "the release that made it" in message or "jobs/synth.py" in message


def test_half_a_file_is_named(own: Path) -> None:
    (own / "report.json").write_bytes((own / "report.json").read_bytes()[:100])
    with pytest.raises(UserError, match=r"report\.json is not valid JSON.*jobs/synth\.py"):
        open_finished(Storage.open(own))


def test_times_add_up_over_sessions_and_a_damaged_file_starts_anew(tmp_path: Path) -> None:
    output = Storage.open(tmp_path)
    for _ in range(2):
        progress = ProgressFile(output, images=10, done=0, workers={"write": 1})
        with progress.session():
            progress.update(Snapshot(stages={"write": 5}, made=5, busy_seconds={"write.write": 1.5}))
    spent = timings(output)
    assert spent is not None
    assert (spent.sessions, spent.images, spent.busy_seconds) == (2, 10, {"write.write": 3.0})
    output.write_bytes("progress.json", b'{"timings": {}}')
    assert timings(output) is None


def test_differences_name_keys_and_both_values() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    assert records.differences(old, {"a": {"b": 1, "c": 4}}) == "a.c was 2 and is 4; d was 3 and is None"
    assert records.differences({"a": {"\n": 1}}, {}) == r"'a.\n' was 1 and is None"
    many = {f"{number:02}": number for number in range(20)}
    assert records.differences({}, many).endswith("; and 12 more")
