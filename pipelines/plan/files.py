"""Writes and reads the files of a plan as streams: `plan/plan-*.parquet` and `failed/prompts.parquet`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pyarrow as pa

from pipelines.dataset import parquet, run_json, schema, sources
from pipelines.dataset.failures import failed_rows
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts.rows import FailedPrompt

SHARDS_PER_PART = 256
"""Shards in a plan file."""

FAILED_PROMPTS = "failed/prompts.parquet"
_FAILURES_PER_ROW_GROUP = 10_000
_PART = re.compile(r"plan-\d{6,}\.parquet")


def part_name(part: int) -> str:
    """Path of a plan file, relative to the output folder."""
    return f"plan/plan-{part:06d}.parquet"


def part_names(segments: Sequence[Segment]) -> Iterator[str]:
    """The paths of the plan files of some segments."""
    for segment in segments:
        for number in range(-(-segment.shards // SHARDS_PER_PART)):
            yield part_name(segment.first // SHARDS_PER_PART + number)


def is_part(name: str) -> bool:
    """Whether a file in plan/ is named like a plan file."""
    return _PART.fullmatch(name) is not None


def parts(output: Storage) -> list[str]:
    """The paths of the plan files that are there, in order."""
    return [f"plan/{name}" for name in output.list("plan") if is_part(name)]


def next_first(segments: Sequence[Segment]) -> int:
    """Number of the first shard of a further segment, which begins a new plan file, as plan files never change."""
    return max((-(-(s.first + s.shards) // SHARDS_PER_PART) for s in segments), default=0) * SHARDS_PER_PART


def check_there(output: Storage, segments: Sequence[Segment]) -> None:
    """Check that the files of a plan are there, with the pictures that its prompts edit.

    output: the output folder.
    segments: of the plan, as run.json has them.

    Raises:
        UserError: when one is not.
    """
    sources.check_there(output, segments)
    run_json.require_files(output, [*part_names(segments)], parts(output), "its shards")


def trim(output: Storage, segments: Sequence[Segment]) -> None:
    """Remove the files of no segment, which an interrupted or failed planning leaves.

    output: the output folder.
    segments: of the plan.
    """
    for path in {*parts(output)} - {*part_names(segments)}:
        output.remove(path)
    sources.trim(output, segments)


class PartWriter:
    """Writes the plan files of a segment; each file appears whole or not at all.

    output: the output folder.
    first: number of the first shard, which begins a plan file.
    columns: as `schema.plan` gives them.
    """

    def __init__(self, output: Storage, first: int, columns: pa.Schema) -> None:
        self._output = output
        self._schema = columns
        self._first = first
        self._shard = first
        self._part = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._part.__exit__(kind, error, tb)

    @property
    def segment(self) -> Segment:
        """The shards written so far."""
        return Segment(first=self._first, shards=self._shard - self._first)

    def write(self, groups: pa.Table) -> None:
        """Write the next shard.

        groups: with the columns of `schema.plan`, without `shard`.
        """
        if self._shard % SHARDS_PER_PART == 0:
            self._start_part()
        number = pa.array([self._shard] * groups.num_rows, pa.int64())
        self._writer.write(groups.add_column(0, self._schema.field("shard"), number))
        self._shard += 1

    def _start_part(self) -> None:
        self._part.close()
        file = self._part.enter_context(self._output.open_output(part_name(self._shard // SHARDS_PER_PART)))
        self._writer = self._part.enter_context(parquet.Writer(file, self._schema, parquet.PLAN))


class FailureWriter:
    """Writes failed prompts to failed/prompts.parquet, which does not exist where there are none.

    output: the output folder.
    """

    def __init__(self, output: Storage) -> None:
        self._output = output
        self._waiting: list[FailedPrompt] = []
        self._file = ExitStack()
        self._writer: parquet.Writer | None = None

    def __enter__(self) -> Self:
        self._output.remove(FAILED_PROMPTS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._file.__exit__(kind, error, tb)

    def add(self, failed: FailedPrompt) -> None:
        """Write one failed prompt."""
        self._waiting.append(failed)
        if len(self._waiting) >= _FAILURES_PER_ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            file = self._file.enter_context(self._output.open_output(FAILED_PROMPTS))
            self._writer = self._file.enter_context(parquet.Writer(file, schema.FAILED))
        failed = (({"prompt": one.prompt, "source": one.source}, one.failure) for one in self._waiting)
        self._writer.write(failed_rows("plan", failed))
        self._waiting.clear()


def failed_prompts(output: Storage) -> set[str]:
    """The types of the failures in failed/prompts.parquet."""
    if not output.exists(FAILED_PROMPTS):
        return set()
    return {str(kind) for kind in parquet.read(output, FAILED_PROMPTS, ["error_type"])["error_type"].to_pylist()}


def read_shard(output: Storage, shard: int) -> pa.Table:
    """The groups of one shard, with the columns of `schema.plan`.

    output: the output folder.
    shard: number of the shard.

    Raises:
        FileNotFoundError: when the plan file does not exist.
        UserError: when it does not hold the shard in its place.
    """
    part, row_group = divmod(shard, SHARDS_PER_PART)
    with parquet.opened(output, part_name(part)) as plan:
        table = plan.group(row_group) if row_group < len(plan.rows_of_groups) else None
    if table is None or set(table["shard"].to_pylist()) != {shard}:
        raise UserError(f"{output.path(part_name(part))}: row group {row_group} does not hold shard {shard}")
    return table


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """One shard of the plan."""

    shard: int
    """Number of the shard."""
    file: str
    """Its plan file, relative to the output folder."""
    row_group: int
    """Its row group in the file."""
    groups: pa.Table
    """One row per group, with the columns of `PLANNED`."""


PLANNED = ("shard", "group_id", "prompt_id", "arm", "rarity")
"""The columns of a plan that summaries read."""


def planned_shards(output: Storage) -> Iterator[PlannedShard]:
    """All shards of the plan in order; one at a time is in memory."""
    for path in parts(output):
        with parquet.opened(output, path) as plan:
            for number in range(len(plan.rows_of_groups)):
                groups = plan.group(number, PLANNED)
                shard = groups["shard"][0].as_py()
                yield PlannedShard(shard=shard, file=path, row_group=number, groups=groups)
