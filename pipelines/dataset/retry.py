"""`--retry-failed`: make again what lies in failed/, and nothing else.

`retry/shard-X.parquet` is a copy of `failed/shard-X.parquet` from the moment of the request, and `retry/requested` says
that the request is whole. While both are there the shard is pending, and the writer replaces every row of the groups
that the copy names, so that a retry may be killed at any point and simply go on. The copy is removed last.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import parquet, schema
from pipelines.dataset.names import shard_file
from pipelines.dataset.storage import Storage

FOLDER = "retry"
_MARK_NAME = "requested"
_MARK = f"{FOLDER}/{_MARK_NAME}"
_COPIES_AT_A_TIME = 16


def request(output: Storage, shards: Iterable[int]) -> None:
    """Ask for what failed in these shards; where an earlier request is not finished, go on with that one."""
    shards = list(shards)
    if requested(output, shards):
        return
    output.remove(_MARK)
    there = set(output.list("failed"))

    def copy(name: str) -> None:
        output.write_bytes(f"{FOLDER}/{name}", output.read_bytes(f"failed/{name}"))

    with ThreadPoolExecutor(_COPIES_AT_A_TIME) as pool:
        for _ in pool.map(copy, [name for name in map(shard_file, shards) if name in there]):
            pass
    output.write_bytes(_MARK, b"")


def requested(output: Storage, shards: Iterable[int]) -> list[int]:
    """The shards whose retry is not finished."""
    there = set(output.list(FOLDER))
    return [shard for shard in shards if shard_file(shard) in there] if _MARK_NAME in there else []


def is_open(output: Storage) -> bool:
    """Is there a request that is not finished?"""
    there = set(output.list(FOLDER))
    return _MARK_NAME in there and len(there) > 1


def read(output: Storage, shard: int) -> pa.Table:
    """The failures to retry: rows of `schema.FAILED`; none where the retry is done, as Ray may ask a second time."""
    try:
        return parquet.read(output, f"{FOLDER}/{shard_file(shard)}")
    except FileNotFoundError:
        return schema.FAILED.empty_table()


def only_failed(output: Storage, shard: int, planned: pa.Table) -> pa.Table:
    """The rows of a shard's plan that are to be made again."""
    return planned.filter(pc.is_in(planned["group_id"], value_set=read(output, shard)["group_id"].combine_chunks()))


def done(output: Storage, shard: int) -> None:
    output.remove(f"{FOLDER}/{shard_file(shard)}")
