"""The image vectors of a run, in a temporary file, which of its images repeat earlier ones, and which of them vary as
real pictures do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.alike import repeats
from models.covariance import matching
from pipelines.dataset import parquet
from pipelines.dataset.finished import FinishedRun, check
from pipelines.dataset.names import FileEntry
from pipelines.errors import UserError
from pipelines.export.left_out import NOTHING, LeftOut, left_out

_COLUMNS = ["embedding", "image_id", "arm", "concept"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """The vectors of N images."""

    vectors_ND: NDArray[np.float16]
    """A memory map."""
    rows: pa.Table
    """Columns file, row, image_id, arm and concept."""


@contextmanager
def vectors_of(
    run: FinishedRun, folders: Sequence[str], arms: Sequence[str], without: LeftOut = NOTHING
) -> Iterator[Vectors]:
    """The vectors of a run's images, for the block; what is in memory are their names.

    run: the finished run.
    folders: of `data` and `rejected`; images of the first come first.
    arms: whose images.
    without: rows that are none of them.

    Raises:
        UserError: when a file is damaged.
    """
    rows: list[pa.Table] = []
    with tempfile.TemporaryFile() as file:
        width = 0
        for entry in (entry for folder in folders for entry in run.images(folder)):
            table = _read(run, entry, arms, without.get(entry.path, frozenset()))
            width = table.schema.field("embedding").type.list_size
            flat: Any = table["embedding"].combine_chunks()
            file.write(np.asarray(flat.flatten().to_numpy(zero_copy_only=False), dtype=np.float16).tobytes())
            rows.append(table.drop_columns(["embedding"]))
        file.flush()
        names = pa.concat_tables(rows)
        shape = (names.num_rows, width)
        empty = np.zeros(shape, np.float16)
        yield Vectors(vectors_ND=np.memmap(file, np.float16, "r", shape=shape) if names.num_rows else empty, rows=names)


def _read(run: FinishedRun, entry: FileEntry, arms: Sequence[str], without: frozenset[int]) -> pa.Table:
    check(run.dataset, entry)
    table = parquet.read(run.dataset, entry.path, _COLUMNS)
    table = table.append_column("file", pa.array([entry.path] * table.num_rows, pa.string()))
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    wanted = [arm in arms and row not in without for row, arm in enumerate(table["arm"].to_pylist())]
    return table.filter(pa.array(wanted, pa.bool_()))


def repeated(
    run: FinishedRun, folders: Sequence[str], arms: Sequence[str], similarity: float, without: LeftOut
) -> LeftOut:
    """The images that repeat an earlier one.

    run, folders, arms, without: as for `vectors_of`.
    similarity: cosine from which an image is a repeat.
    """
    with vectors_of(run, folders, arms, without) as found:
        first_N, _ = repeats(found.vectors_ND, similarity)
        return left_out(found.rows.filter(pa.array(first_N >= 0)))


def not_matching(
    run: FinishedRun,
    folders: Sequence[str],
    arms: Sequence[str],
    reference_MD: NDArray[np.float32],
    count: int,
    without: LeftOut,
) -> LeftOut:
    """The images that are not among those whose covariance matches that of real pictures (`models.covariance`).

    run, folders, arms, without: as for `vectors_of`.
    reference_MD: the vectors of the real pictures.
    count: how many images are chosen.

    Raises:
        UserError: when there are too few images or real pictures.
    """
    with vectors_of(run, folders, arms, without) as found:
        try:
            chosen = matching(found.vectors_ND, reference_MD, count)
        except ValueError as error:
            raise UserError(f"--match-covariance, --match-count {count}: {error}") from None
        left = np.ones(found.rows.num_rows, dtype=bool)
        left[chosen] = False
        return left_out(found.rows.filter(pa.array(left)))
