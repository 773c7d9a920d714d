"""How exports are written: the same bytes wherever, by whomever and however often they are interrupted."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.cluster import bars
from pipelines.dataset.storage import Storage
from pipelines.export import flow as export_run
from pipelines.export.formats import FORMATS
from tests.support.exports import bytes_of, export
from tests.support.killing import ended

KILLS = 3


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_runs_give_equal_bytes_wherever_they_lie(
    kind: str, toy_run: Path, own_toy_run: Path, tmp_path: Path
) -> None:
    assert export(toy_run, tmp_path / "a", kind, "--rejected") == 0
    assert export(own_toy_run, tmp_path / "b", kind, "--rejected") == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_a_card_does_not_say_on_which_machines_a_run_was_made(own_toy_run: Path, tmp_path: Path) -> None:
    record = json.loads((own_toy_run / "run.json").read_bytes())
    record["config"]["run"] |= {"output": "/home/me/secret", "seed": 77}
    record["config"]["prompts"] = {"path": "/home/me/secret.csv", "limit": 5, "expand": {"base_url": "http://secret"}}
    record["config"]["ray"] = {"address": "ray://secret:10001"}
    (own_toy_run / "run.json").write_text(json.dumps(record))
    assert export(own_toy_run, tmp_path / "to", "huggingface") == 0
    card = (tmp_path / "to" / "README.md").read_text()
    shown = json.loads(card.split("## Settings\n\n```json\n")[1].split("```")[0])["config"]
    assert "secret" not in card
    assert (shown["run"]["seed"], shown["prompts"]) == (77, {"limit": 5, "expand": {}})


@pytest.mark.parametrize("kind", FORMATS)
def test_a_killed_export_goes_on(kind: str, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Forked processes share the lock of the bars, and one that is killed would keep it.
    monkeypatch.setattr(bars, "bar", lambda *_: nullcontext(SimpleNamespace(update=lambda _: None)))
    started = time.monotonic()
    assert export(toy_run, tmp_path / "whole", kind, shard_bytes=20480) == 0
    longest = time.monotonic() - started
    dice = random.Random(kind)
    for kill in range(KILLS):
        to = tmp_path / f"killed-{kill}"
        while not ended(partial(export, toy_run, to, kind, shard_bytes=20480), dice.uniform(0.0, 1.2) * longest):
            for path in to.rglob("*.tar"):
                tarfile.open(path).close()  # whole, if it is there
        assert bytes_of(to) == bytes_of(tmp_path / "whole")


def test_what_is_there_is_not_written_again(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "tars"
    assert export(toy_run, to, "webdataset") == 0
    whole = bytes_of(to)
    kept, lost = to / "train-000001.tar", to / "train-000000.tar"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (to / "README.md").unlink()
    assert export(toy_run, to, "webdataset") == 0
    assert bytes_of(to) == whole
    assert kept.stat().st_mtime_ns == before


def test_a_file_of_another_size_is_written_again(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "tars"
    assert export(toy_run, to, "webdataset") == 0
    whole = bytes_of(to)
    (to / "train-000000.tar").write_bytes(b"half")
    assert export(toy_run, to, "webdataset") == 0
    assert bytes_of(to) == whole


def test_an_image_that_is_lost_beside_its_metadata_is_written_again(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "images"
    assert export(toy_run, to, "imagefolder") == 0
    whole = bytes_of(to)
    next(to.glob("train/00000/*.png")).unlink()
    assert export(toy_run, to, "imagefolder") == 0
    assert bytes_of(to) == whole


def test_what_a_kill_left_beside_annotations_is_removed(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "coco"
    assert export(toy_run, to, "coco") == 0
    whole = bytes_of(to)
    (to / "annotations" / f".captions_train.json.{'0' * 32}.tmp").write_text("half")
    assert export(toy_run, to, "coco") == 0
    assert bytes_of(to) == whole


@pytest.mark.parametrize("kind", FORMATS)
def test_the_manifest_names_every_other_file(kind: str, toy_run: Path, tmp_path: Path) -> None:
    assert export(toy_run, tmp_path / "to", kind, "--rejected") == 0
    files = bytes_of(tmp_path / "to")
    entries = json.loads(files.pop("manifest.json"))["files"]
    found = {entry["path"]: (entry["bytes"], entry["sha256"]) for entry in entries}
    assert found == {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()}


def test_from_s3_to_s3(s3: Storage, toy_run: Path, tmp_path: Path) -> None:
    for name, content in bytes_of(toy_run).items():
        s3.write_bytes(f"run/{name}", content)
    for kind in FORMATS:
        assert export(toy_run, tmp_path / kind, kind) == 0
        assert export(s3.path("run"), s3.path(kind), kind) == 0
        for name, content in bytes_of(tmp_path / kind).items():
            assert s3.read_bytes(f"{kind}/{name}") == content
        assert export(s3.path("run"), s3.path(kind), kind) == 0


def test_many_files_are_written_over_ray(
    toy_run: Path, tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(toy_run, tmp_path / "here", "webdataset") == 0
    monkeypatch.setattr(export_run, "_FILES_WORTH_RAY", 2)
    assert export(toy_run, tmp_path / "spread", "webdataset") == 0
    assert bytes_of(tmp_path / "spread") == bytes_of(tmp_path / "here")
