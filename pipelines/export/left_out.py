"""Rows of a run that an export leaves out, by what an expression over their scores says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipelines.config.acceptance import values_of
from pipelines.config.expressions import Expression
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.scored_rows import numbers_of, shards
from pipelines.errors import UserError

LeftOut = Mapping[str, frozenset[int]]
"""Shard file -> numbers of rows."""

NOTHING: LeftOut = {}


def left_out(rows: pa.Table) -> LeftOut:
    """Rows by their files.

    rows: with the columns file and row.
    """
    found: dict[str, set[int]] = {}
    for file, row in zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True):
        found.setdefault(str(file), set()).add(int(row or 0))
    return {file: frozenset(numbers) for file, numbers in found.items()}


def both(one: LeftOut, other: LeftOut) -> LeftOut:
    """The rows of either."""
    nothing: frozenset[int] = frozenset()
    return {file: one.get(file, nothing) | other.get(file, nothing) for file in {*one, *other}}


def not_accepted(run: FinishedRun, accept: Expression, scorers: Sequence[str]) -> LeftOut:
    """The rows for which a condition is false, as `selection.accept` would find it.

    run: the finished run.
    accept: the condition. What it says of a group is of the whole group, with the images that selection dropped.
    scorers: names of those whose scores were added later.

    Raises:
        UserError: when it reads a column that the run does not have.
    """
    found: LeftOut = NOTHING
    for rows in shards(run, scorers):
        try:
            said = values_of(accept, rows, [field.name for field in numbers_of(rows.schema)])
        except ValueError as error:
            raise UserError(f"--accept: {error}") from None
        found = both(found, left_out(rows.filter(pa.array([one is False for one in said], pa.bool_()))))
    return found
