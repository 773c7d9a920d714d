"""The rows of an export: images of a finished run, with the columns that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dataset import parquet, schema
from pipelines.dataset import scores as score_files
from pipelines.dataset.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a run is exported."""

    arms: tuple[str, ...]
    """Those whose images go along."""
    embeddings: bool
    """Also the scorers' image vectors."""
    scores: tuple[str, ...]
    """Names of the scorers (`pipelines.dataset.scores`) whose columns are put beside the run's own."""


class Piece(NamedTuple):
    """Rows of a shard file, from `first` up to `end`, counted before any choice of arms; a list in export.json."""

    file: str
    first: int
    end: int


def columns(dataset: Storage, choice: Choice, file: str) -> pa.Schema:
    """The schema of the export, from any shard file of the run."""
    fields = [field for field in parquet.schema_of(dataset, file) if _wanted(field, choice)]
    for name in choice.scores:
        scored = parquet.schema_of(dataset, score_files.path(name, file))
        fields += [field for field in scored if field.name not in score_files.KEYS and _wanted(field, choice)]
    return schema.declared(pa.schema(fields))


def is_embedding(field: pa.Field[pa.DataType]) -> bool:
    return pa.types.is_fixed_size_list(field.type)


def _wanted(field: pa.Field[pa.DataType], choice: Choice) -> bool:
    return choice.embeddings or not is_embedding(field)


def read(
    dataset: Storage, choice: Choice, target: pa.Schema, piece: Piece
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The chosen rows of a piece, a row group of its file at a time: their places in the file, and a table of `target`.

    Raises UserError where the score files do not hold the same images.
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
            chosen = pc.is_in(rows["arm"], value_set=pa.array(choice.arms))
            places = np.flatnonzero(chosen.to_numpy()).astype(np.int64) + first
            yield places, rows.filter(chosen).select(target.names).cast(target)
