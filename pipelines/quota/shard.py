"""What a finished shard holds, as quotas see it: its groups in the order of the plan, and which images passed the
judge, whether their place in `data/` or `rejected/` is settled yet or not.

Settling moves rows between the two files of a shard, and may be killed between them: a row that is in both counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dataset import parquet
from pipelines.dataset.names import IMAGE_FOLDERS, shard_file
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard

REPEAT, OVER_QUOTA = "repeat", "over quota"
"""Values of the column `drop_reason` of images that passed the judge: of a repeat, `duplicate_of` says of which."""

KEY = ("group_id", "index_in_group")
"""Columns that name an image of a run."""

_READ = (*KEY, "image_id", "drop_reason", "duplicate_of", "embedding")


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """What becomes of the images of a shard that passed the judge."""

    shard: int
    """Number of the shard."""
    rows: pa.Table
    """The columns of `KEY`, `drop_reason` and `duplicate_of`, which are null for an accepted image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """The groups and images of a shard; images in the order of the plan."""

    groups: pa.Table
    """Its plan: `group_id`, `prompt_id` and `arm`."""
    place_N: NDArray[np.int64]
    """The number of each image's group in it."""
    passed_N: NDArray[np.bool_]
    """Whether the judge let it pass."""
    images: pa.Table
    """The columns of `KEY`, `image_id`, `drop_reason` and `duplicate_of`, as the files have them."""
    vectors_ND: NDArray[np.float16]
    """Image vectors."""
    settled: bool
    """Whether every image is in one file only, in `data/` where it has no `drop_reason`."""


def read(output: Storage, shard: int) -> Made:
    """What a finished shard holds; no pixels are read.

    output: the output folder.
    shard: number of the shard.
    """
    groups = read_shard(output, shard).select(["group_id", "prompt_id", "arm"])
    paths = [path for folder in IMAGE_FOLDERS if output.exists(path := f"{folder}/{shard_file(shard)}")]
    tables = [parquet.read(output, path, _READ) for path in paths]
    rows, order, place = in_order(pa.concat_tables(tables), groups["group_id"])
    kept = (order < tables[0].num_rows) if tables else np.zeros(len(order), bool)
    by_quota = pc.is_in(rows["drop_reason"], value_set=pa.array([REPEAT, OVER_QUOTA])).to_numpy()
    free = rows["drop_reason"].is_null().to_numpy()
    vectors: Any = rows["embedding"].combine_chunks()
    return Made(
        groups=groups,
        place_N=place,
        passed_N=kept | by_quota,
        images=rows.drop_columns(["embedding"]),
        vectors_ND=vectors.flatten().to_numpy().reshape(rows.num_rows, vectors.type.list_size),
        settled=rows.num_rows == sum(table.num_rows for table in tables) and bool((kept == free).all()),
    )


def in_order(rows: pa.Table, group_ids: pa.ChunkedArray[Any]) -> tuple[pa.Table, NDArray[Any], NDArray[np.int64]]:
    """Rows of images in the order of the plan, each image once; the numbers of these rows, and of their groups.

    rows: with the columns of `KEY`; of an image that is there twice the later row is taken.
    group_ids: of the shard's plan.
    """
    places: Any = pc.index_in(rows["group_id"], value_set=group_ids.combine_chunks())
    place, index = places.to_numpy().astype(np.int64), rows["index_in_group"].to_numpy().astype(np.int64)
    name = place * (index.max(initial=0) + 1) + index
    _, last = np.unique(name[::-1], return_index=True)
    order = len(name) - 1 - last
    return rows.take(order), order, place[order]


def settle(output: Storage, verdicts: Verdicts) -> None:
    """Move the images of a shard to where they belong: accepted ones to `data/`, the others to `rejected/`.

    Killed at any point, every image is in one of the files at least, and `read` finds what it was.

    output: the output folder.
    verdicts: of the shard.
    """
    name = shard_file(verdicts.shard)
    data, rejected = (f"{folder}/{name}" for folder in IMAGE_FOLDERS)
    there = [parquet.read(output, path) for path in (data, rejected) if output.exists(path)]
    group_ids = read_shard(output, verdicts.shard)["group_id"]
    rows, order, _ = in_order(pa.concat_tables(there), group_ids)
    judged = _with(rows, verdicts)
    stays = judged["keep"].to_numpy()
    was_rejected = order >= there[0].num_rows
    goes_back = was_rejected & stays
    if goes_back.any():
        old = pc.if_else(pa.array(goes_back), pa.scalar(OVER_QUOTA), judged["drop_reason"])
        both = _set(_set(judged, "drop_reason", old), "keep", pa.array(stays & ~goes_back))
        parquet.write_or_remove(output, rejected, both.filter(pa.array(~stays | goes_back)).combine_chunks())
    else:
        parquet.write_or_remove(output, rejected, judged.filter(pa.array(~stays)).combine_chunks())
    parquet.write(output, data, judged.filter(pa.array(stays)).combine_chunks())
    if goes_back.any():
        parquet.write_or_remove(output, rejected, judged.filter(pa.array(~stays)).combine_chunks())


def _with(rows: pa.Table, verdicts: Verdicts) -> pa.Table:
    """Rows of images with what the verdicts say of them."""
    said = {(row["group_id"], row["index_in_group"]): row for row in verdicts.rows.to_pylist()}
    keys = zip(*(rows[name].to_pylist() for name in KEY), strict=True)
    new = rows.select(["keep", "drop_reason", "duplicate_of"]).to_pylist()
    for row, key in zip(new, keys, strict=True):
        if verdict := said.get(key):
            row |= {"keep": verdict["drop_reason"] is None, **{name: verdict[name] for name in row if name in verdict}}
    for name in ("keep", "drop_reason", "duplicate_of"):
        rows = _set(rows, name, pa.array([row[name] for row in new], rows.schema.field(name).type))
    return rows


def _set(rows: pa.Table, name: str, values: Any) -> pa.Table:
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), values)
