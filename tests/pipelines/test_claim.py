"""A folder belongs to a run once the run has made an image: first tries with wrong settings are not in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.dataset import parquet, run_json
from pipelines.dataset.schema import FAILED
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import run_record
from pipelines.flows.synth import _planned, pending_shards
from pipelines.plan.files import read_shard
from tests.conftest import Configure


def made(output: Storage, *, images: int) -> None:
    """The first shard's files, of which a claim reads no more than the number of rows; without images, all failed."""
    parquet.write(output, "data/shard-000000.parquet", pa.table({"image_id": ["x"] * images}))
    if not images:
        parquet.write(output, "failed/shard-000000.parquet", FAILED.empty_table())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("name,prompt\nfirst,a red square\nsecond,a purple star\n")
    return path


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": {"columns": {"prompt": "Text"}}},  # is refused: there is no such column
        {"prompts": {"columns": {"prompt": "name"}}},  # plans the wrong words, and goes on
        {"prompts": {"max_characters": 3}},
        {"prompts": {"limit": 1}},
        {"scoring": {"model": "ViT-B-32", "pretrained": "no-such-tag"}},
        {"model": {"path": "owner/other"}},
        {"group": {"groups_per_prompt": 3}},
        {"run": {"seed": 9}},
    ],
    ids=str,
)
@pytest.mark.parametrize("failed_groups", [False, True])
def test_a_try_that_made_nothing_is_not_in_the_way(
    wrong: dict[str, dict[str, Any]], failed_groups: bool, configure: Configure, table: Path, tmp_path: Path
) -> None:
    right: dict[str, Any] = {"run": {"output": str(tmp_path / "out")}, "prompts": {"path": str(table)}}
    output = Storage.open(tmp_path / "out")
    first = configure(**{**right, **{name: {**right.get(name, {}), **of} for name, of in wrong.items()}})
    try:
        _planned(first, output)
    except UserError:
        failed_groups = False
    if failed_groups:
        made(output, images=0)
    config = configure(**right)
    counts = _planned(config, output)
    assert read_shard(output, 0)["prompt"].to_pylist() == ["a red square", "a purple star"]
    assert [request["shard"] for request in pending_shards(output, counts)] == [0]
    assert [name for folder in ("rejected", "failed", "retry") for name in output.list(folder)] == []
    record = run_json.read(output)
    assert record.plan == counts
    assert run_record.claim(config, run_record.plan_inputs(config), output) == record  # and now it goes on


def test_an_image_makes_the_folder_the_run_s(configure: Configure, tmp_path: Path) -> None:
    output = Storage.open(tmp_path / "out")
    _planned(configure(), output)
    made(output, images=1)
    before = output.read_bytes(run_json.FILE)
    with pytest.raises(UserError, match=r"belongs to a run with other settings: run\.seed was 0 and is 9"):
        _planned(configure(run={"output": output.uri, "seed": 9}), output)
    with pytest.raises(UserError, match="groups planned"):
        _planned(configure(prompts={"path": str(tmp_path / "prompts.txt"), "limit": 1}), output)
    assert output.read_bytes(run_json.FILE) == before


def test_a_plan_that_is_lost_is_named(configure: Configure, tmp_path: Path) -> None:
    output = Storage.open(tmp_path / "out")
    _planned(configure(), output)
    made(output, images=1)
    output.remove("plan/plan-000000.parquet")
    with pytest.raises(UserError, match=r"plan/plan-000000\.parquet is not there.*Put it back"):
        _planned(configure(), output)
