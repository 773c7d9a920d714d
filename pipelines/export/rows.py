"""Reads the rows of an export: images of a finished run, with the chosen columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dataset import parquet, schema
from pipelines.dataset import scores as score_files
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export import sources
from pipelines.export.left_out import LeftOut


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The rows and columns of a run that are exported."""

    arms: tuple[str, ...]
    """Names of the arms whose images are exported."""
    embeddings: bool
    """Whether to export the scorers' image vectors too."""
    scores: tuple[str, ...]
    """Names of the scorers (`pipelines.dataset.scores`) whose columns are added to the run's own."""
    without: LeftOut
    """The rows that are left out."""


class Piece(NamedTuple):
    """Consecutive rows of a shard file; a list in export.json."""

    file: str
    """Relative to the output folder of the run."""
    first: int
    """Number of the first row, counted over all arms."""
    end: int
    """Number of the last row, plus 1."""


def columns(dataset: Storage, choice: Choice, files: Sequence[str]) -> pa.Schema:
    """The schema of an export.

    dataset: the output folder of the run.
    choice: which columns.
    files: the shard files of the run whose rows are exported, one or more.

    Raises:
        UserError: when no run wrote the file.
    """
    file, *_ = files
    of_run = parquet.schema_of(dataset, file)
    version = schema.version_of(of_run)
    if version is None:
        raise UserError(f"{dataset.path(file)} is of no run, as it names no row contract. {parquet.DAMAGED}")
    fields = [field for field in of_run if _wanted(field, choice)]
    fields += sources.columns(dataset, files, of_run)
    for name in choice.scores:
        scored = parquet.schema_of(dataset, score_files.path(name, file))
        fields += [field for field in scored if field.name not in score_files.KEYS and _wanted(field, choice)]
    return schema.declared(pa.schema(fields), version)


def is_embedding(field: pa.Field[pa.DataType]) -> bool:
    """Whether a column holds image vectors."""
    return pa.types.is_fixed_size_list(field.type)


def _wanted(field: pa.Field[pa.DataType], choice: Choice) -> bool:
    return choice.embeddings or not is_embedding(field)


def read(
    dataset: Storage, choice: Choice, target: pa.Schema, piece: Piece
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The chosen rows of a piece, one row group at a time: their numbers in the file, int64 [rows], and a table.

    dataset: the output folder of the run.
    choice: which arms and scorers.
    target: schema of the tables.
    piece: which rows.

    Raises:
        UserError: when the score files do not hold the same images.
    """
    with parquet.opened(dataset, piece.file) as file:
        beside = [score_files.read(dataset, name, piece.file) for name in choice.scores]
        end = 0
        for number, size in enumerate(file.rows_of_groups):
            start, end = end, end + size
            first, last = max(piece.first, start), min(piece.end, end)
            if first >= last:
                continue
            names = [name for name in target.names if name in file.schema.names]
            rows = file.group(number, names).slice(first - start, last - first)
            for name, scores in zip(choice.scores, beside, strict=True):
                rows = score_files.merged(dataset, name, piece.file, first, rows, scores)
            chosen = pc.is_in(rows["arm"], value_set=pa.array(choice.arms)).to_numpy().copy()
            left_out = choice.without.get(piece.file, frozenset())
            chosen[[row - first for row in left_out if first <= row < last]] = False
            places = np.flatnonzero(chosen).astype(np.int64) + first
            end_of_few = 0
            for few in sources.with_pictures(dataset, rows.filter(pa.array(chosen)), target):
                start_of_few, end_of_few = end_of_few, end_of_few + few.num_rows
                yield places[start_of_few:end_of_few], few.select(target.names).cast(target)
