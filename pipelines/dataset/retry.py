"""`--retry-failed`: make the groups in failed/ again, and nothing else.

`retry/shard-X.parquet` is a copy of `failed/shard-X.parquet` from the time of the request, and `retry/requested` marks
the request as complete. While both exist the shard is pending, and the writer replaces every row of the groups in the
copy, so that a retry may be killed at any time and continued. The copy is removed last.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import parquet, schema
from pipelines.dataset.names import shard_file, shard_of
from pipelines.dataset.storage import Storage

FOLDER = "retry"
_MARK_NAME = "requested"
_MARK = f"{FOLDER}/{_MARK_NAME}"
_COPIES_AT_A_TIME = 16


def request(output: Storage, shards: Iterable[int]) -> None:
    """Request a retry of the failed groups; an earlier request that is not finished is continued instead.

    output: the output folder.
    shards: numbers of all shards of the run.
    """
    shards = list(shards)
    if requested(output, shards):
        return
    output.remove(_MARK)
    with_failures = set(output.list("failed"))

    def copy(name: str) -> None:
        output.write_bytes(f"{FOLDER}/{name}", output.read_bytes(f"failed/{name}"))

    with ThreadPoolExecutor(_COPIES_AT_A_TIME) as pool:
        for _ in pool.map(copy, [name for name in map(shard_file, shards) if name in with_failures]):
            pass
    output.write_bytes(_MARK, b"")


def requested(output: Storage, shards: Iterable[int]) -> list[int]:
    """Those of some shards whose retry is not finished."""
    files = set(output.list(FOLDER))
    return [shard for shard in shards if shard_file(shard) in files] if _MARK_NAME in files else []


def is_open(output: Storage) -> bool:
    """Whether a request is not finished."""
    files = output.list(FOLDER)
    return _MARK_NAME in files and any(shard_of(name) is not None for name in files)


def read(output: Storage, shard: int) -> pa.Table:
    """The failures of a shard to retry, rows of `schema.FAILED`; none when it is done, as Ray may run a retry twice."""
    try:
        return parquet.read(output, f"{FOLDER}/{shard_file(shard)}")
    except FileNotFoundError:
        return schema.FAILED.empty_table()


def only_failed(output: Storage, shard: int, planned: pa.Table) -> pa.Table:
    """The rows of a shard's plan that are made again.

    output: the output folder.
    shard: number of the shard.
    planned: all rows of its plan.
    """
    return planned.filter(pc.is_in(planned["group_id"], value_set=read(output, shard)["group_id"].combine_chunks()))


def done(output: Storage, shard: int) -> None:
    """Record that the retry of a shard is finished."""
    output.remove(f"{FOLDER}/{shard_file(shard)}")
