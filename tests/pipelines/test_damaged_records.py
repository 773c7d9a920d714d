"""JSON records with anything in place of their parts: one sentence that names the file, or nothing is the matter."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config.fingerprint import fingerprint
from pipelines.dataset import manifest_json, parquet, records, report_json, run_json
from pipelines.dataset.finished import check, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.manifest_json import Manifest
from pipelines.dataset.progress_json import ProgressFile, ProgressRecord, timings
from pipelines.dataset.report_json import Report
from pipelines.dataset.run_json import RunRecord
from pipelines.dataset.scores import ScoresRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.record import ExportRecord
from pipelines.flows import replay, run_record
from pipelines.flows.finish import finish
from pipelines.flows.run_record import plan_inputs
from pipelines.flows.synth import _planned
from tests.conftest import Configure
from tests.support.toy_run import Toy, write_run

CHEAP = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
WRONG = [b"", b"{}", b"[]", b"null", b"7", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"\0" * 9]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    finish(write_run(folder, Toy(prompts=2, side=16)))
    progress = ProgressFile(Storage.open(folder), images=10, done=0, workers={"write": 1})
    with progress.session():
        pass
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "own"))


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all parts of a JSON value."""
    yield at
    for key, item in (
        content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    ):
        yield from places(item, (*at, key))


def changed(content: Any, at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return content


def ends_in_a_sentence(work: Callable[[], Any], *words: str) -> None:
    try:
        work()
    except UserError as error:
        said = str(error)
    else:
        return
    assert all(word in said for word in words), said
    assert "\n" not in said


READERS: dict[str, Callable[[Storage], Any]] = {
    "run.json": run_json.read,
    "manifest.json": lambda output: manifest_json.read(output, ""),
    "report.json": lambda output: report_json.read(output, ""),
}


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:10]))
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_record_is_named(name: str, content: bytes, own: Path) -> None:
    (own / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        READERS[name](Storage.open(own))
    assert f"{own}/{name}" in str(error.value)
    with pytest.raises(UserError):
        open_finished(Storage.open(own))


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:10]))
def test_a_run_goes_on_without_its_timings(content: bytes, own: Path) -> None:
    (own / "progress.json").write_bytes(content)
    assert timings(Storage.open(own)) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [("NaN", "no number"), ("1e999", "no number"), ('"\\ud800"', "not valid JSON"), ("9" * 30, "whole number")],
)
def test_values_that_json_should_not_have(text: str, word: str, own: Path) -> None:
    content = (own / "run.json").read_text().replace('"schema_version": ', f'"schema_version": {text}, "old": ')
    (own / "run.json").write_text(content)
    with pytest.raises(UserError, match=word):
        run_json.read(Storage.open(own))


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "report.json", "progress.json"])
def test_any_value_in_place_of_a_part(name: str, own: Path) -> None:
    content = json.loads((own / name).read_bytes())
    ways = [*places(content)]
    output = Storage.open(own)

    @CHEAP
    @given(st.sampled_from(ways), JSON)
    def tried(at: tuple[Any, ...], value: Any) -> None:
        (own / name).write_text(json.dumps(changed(content, at, value)))
        ends_in_a_sentence(lambda: check(output, open_finished(output).images("data")[0]))
        ends_in_a_sentence(lambda: replay.origin(output))
        ends_in_a_sentence(lambda: timings(output))

    tried()


def test_any_value_in_place_of_a_part_of_a_run_that_goes_on(configure: Configure, tmp_path: Path) -> None:
    config = configure(scorers=[{"name": "b", "model": "ViT-B-16"}])
    output = Storage.open(config.run.output)
    counts = _planned(config, output)
    whole = output.read_bytes("run.json")
    content = json.loads(whole)
    ways = [*places(content)]

    @settings(CHEAP, max_examples=25)
    @given(st.sampled_from(ways), JSON)
    def tried(at: tuple[Any, ...], value: Any) -> None:
        output.write_bytes("run.json", json.dumps(changed(content, at, value)).encode())
        ends_in_a_sentence(lambda: _planned(config, output))
        ends_in_a_sentence(lambda: finish(output))

    tried()
    output.write_bytes("run.json", whole)
    assert _planned(config, output) == counts


def make_an_image(output: Storage) -> None:
    """Without one the folder is nobody's."""
    parquet.write(output, "data/shard-000000.parquet", pa.table({"image_id": ["1"]}))


def test_a_config_with_another_fingerprint_is_damaged(configure: Configure) -> None:
    config = configure()
    output = Storage.open(config.run.output)
    inputs = plan_inputs(config)
    record = run_record.claim(config, inputs, output)
    make_an_image(output)
    assert run_record.claim(config, inputs, output) == record
    content = json.loads(output.read_bytes("run.json"))
    content["config"]["sampling"]["steps"] = 3
    output.write_bytes("run.json", json.dumps(content).encode())
    with pytest.raises(UserError, match=r"run\.json is damaged.*sampling\.steps was 3"):
        run_record.claim(config, inputs, output)


@pytest.mark.parametrize("table", ["run", "prompts", "model", "group", "arms"])
def test_another_run_is_refused_also_where_its_config_lacks_a_table(table: str, configure: Configure) -> None:
    config = configure()
    output = Storage.open(config.run.output)
    inputs = plan_inputs(config)
    run_record.claim(config, inputs, output)
    make_an_image(output)
    content = json.loads(output.read_bytes("run.json"))
    values: list[Any] = [None, 3, {}, [3]]
    for value in values:
        content["config"][table] = value
        content["fingerprint"] = "another"
        output.write_bytes("run.json", json.dumps(content).encode())
        with pytest.raises(UserError, match=r"run\.json belongs to a run with other settings"):
            run_record.claim(config, inputs, output)


def test_a_plan_file_that_is_gone_is_named(configure: Configure) -> None:
    config = configure()
    output = Storage.open(config.run.output)
    _planned(config, output)
    output.remove("plan/plan-000000.parquet")
    with pytest.raises(UserError, match=r"plan/plan-000000\.parquet is not there, though run\.json names its shards"):
        _planned(config, output)
    record = run_json.read(output)
    assert record.fingerprint == fingerprint(config)


def test_a_manifest_of_other_files_is_named(own: Path) -> None:
    content = json.loads((own / "manifest.json").read_bytes())
    for path in ("data/notes.parquet", "data/../data/shard-000000.parquet", "rejected/shard-1.parquet"):
        files = [{**content["files"][0], "path": path}, *content["files"]]
        (own / "manifest.json").write_text(json.dumps({**content, "files": files}))
        with pytest.raises(UserError, match=r"manifest\.json: '.*' is not named like a file of a run"):
            open_finished(Storage.open(own))
    (own / "manifest.json").write_text(json.dumps({**content, "files": []}))
    with pytest.raises(UserError, match=r"manifest\.json names no file in data/"):
        open_finished(Storage.open(own))
    (own / "manifest.json").write_text(json.dumps({**content, "complete": False, "problems": []}))
    with pytest.raises(UserError, match="is not finished"):
        open_finished(Storage.open(own))


def test_a_file_that_is_gone_is_named(own: Path) -> None:
    entry = open_finished(Storage.open(own)).images("data")[0]
    (own / entry.path).unlink()
    with pytest.raises(UserError, match=r"data/shard-000000\.parquet is gone, but manifest\.json says"):
        check(Storage.open(own), entry)


@given(JSON, st.sampled_from(["pid", "beat_seconds", "started", "owner", "beat", "job"]))
@settings(CHEAP, max_examples=20)
def test_a_lock_with_any_value_is_held_or_not(tmp_path: Path, value: Any, key: str) -> None:
    output = Storage.open(tmp_path)
    with RunLock(output):
        lock = json.loads((tmp_path / "run.lock").read_bytes())
    (tmp_path / "run.lock").write_text(json.dumps({**lock, "pid": 2**22 + 1, key: value}))
    ends_in_a_sentence(lambda: RunLock(output).__enter__().__exit__(None, None, None), "run.lock")
    (tmp_path / "run.lock").unlink(missing_ok=True)


KINDS = [RunRecord, Manifest, Report, ProgressRecord, ScoresRecord, ExportRecord]


@CHEAP
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(KINDS))
def test_any_bytes_are_no_record_or_one(data: bytes, kind: type[Any]) -> None:
    ends_in_a_sentence(lambda: records.parse(data, kind, file="record.json", advice=""), "record.json")
