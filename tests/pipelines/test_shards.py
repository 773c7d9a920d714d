"""A shard on its way: the block that travels between stages, and the sink, which writes none that is not whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.dataset import schema
from pipelines.dataset.failures import Failure, failed_rows, of_group
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.write import write_plan
from pipelines.stages.block import Shard, pack, unpack
from pipelines.stages.write import write_shard
from tests.conftest import Configure


@pytest.fixture
def planned(configure: Configure, tmp_path: Path) -> tuple[Storage, pa.Table]:
    output = Storage.open(tmp_path / "out")
    write_plan(configure(group={"size": 2}), output)
    return output, read_shard(output, 0)


def test_a_block_is_one_row_and_comes_back_whole(planned: tuple[Storage, pa.Table]) -> None:
    _, groups = planned
    rows = groups.select(["group_id", "group_seeds", "repulsion", "concept"])
    failed = failed_rows("score", [({}, FAILURE)])
    for table in (rows, rows.slice(1), rows.slice(0, 0)):
        block = pack(Shard(shard=3, retry=True, images=table, failed=failed))
        assert block.num_rows == 1
        back = unpack(block)
        assert (back.shard, back.retry) == (3, True)
        assert back.images.schema == rows.schema
        assert back.images.to_pylist() == table.to_pylist()
        assert back.failed == failed


FAILURE = Failure(error_type="E", error="e")


def failures(groups: pa.Table, indices: list[int]) -> pa.Table:
    return failed_rows("generate", ((of_group(groups, index), FAILURE) for index in indices))


@pytest.mark.parametrize("indices", [[0], [], [0, 0, 1], [1, 1]])
def test_a_shard_that_is_not_whole_is_not_written(planned: tuple[Storage, pa.Table], indices: list[int]) -> None:
    output, groups = planned
    shard = Shard(
        shard=0,
        retry=False,
        images=schema.scored(4).empty_table(),
        failed=failures(groups, indices),
    )
    with pytest.raises(RuntimeError, match="shard 0 is not whole"):
        write_shard(pack(shard), output)
    assert not output.exists("data/shard-000000.parquet")


def test_a_shard_of_failures_is_done(planned: tuple[Storage, pa.Table]) -> None:
    output, groups = planned
    output.write_bytes("rejected/shard-000000.parquet", b"of an interrupted attempt")
    shard = Shard(
        shard=0,
        retry=False,
        images=schema.scored(4).empty_table(),
        failed=failures(groups, [0, 1]),
    )
    (row,) = write_shard(pack(shard), output).to_pylist()
    assert (row["images"], row["failed"]) == (0, 2)
    assert output.list("data") == output.list("failed") == ["shard-000000.parquet"]
    assert output.list("rejected") == []
