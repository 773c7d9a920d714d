"""The files that planning writes, streaming: `plan/plan-*.parquet` and `failed/prompts.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pyarrow as pa

from pipelines.dataset import parquet, schema
from pipelines.dataset.failures import failed_rows
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.prompts.rows import FailedPrompt

SHARDS_PER_PART = 256
FAILED_PROMPTS = "failed/prompts.parquet"
_FAILURES_PER_ROW_GROUP = 10_000


def part_name(part: int) -> str:
    return f"plan/plan-{part:06d}.parquet"


def part_names(segments: Sequence[Segment]) -> list[str]:
    """The plan files of some segments."""
    return [
        part_name(segment.first // SHARDS_PER_PART + number)
        for segment in segments
        for number in range(-(-segment.shards // SHARDS_PER_PART))
    ]


def next_first(segments: Sequence[Segment]) -> int:
    """The first shard of a further segment. Plan files never change, so it begins a new one."""
    return max((-(-(s.first + s.shards) // SHARDS_PER_PART) for s in segments), default=0) * SHARDS_PER_PART


def trim(output: Storage, segments: Sequence[Segment]) -> None:
    """Remove plan files of no segment, as an interrupted or refused planning leaves them."""
    planned = set(part_names(segments))
    for name in output.list("plan"):
        if f"plan/{name}" not in planned:
            output.remove(f"plan/{name}")


class PartWriter:
    """Writes shards as row groups from number `first` on, `SHARDS_PER_PART` to a file; each file appears whole.

    interventions: those that have a column.
    """

    def __init__(self, output: Storage, first: int, interventions: Sequence[str]) -> None:
        self._output = output
        self._schema = schema.plan(interventions)
        self._first = first
        self._shard = first
        self._part = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._part.__exit__(kind, error, tb)

    @property
    def segment(self) -> Segment:
        return Segment(first=self._first, shards=self._shard - self._first)

    def write(self, groups: pa.Table) -> None:
        """Write one shard: a table with the columns of `schema.plan` but for `shard`."""
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
    """Writes bad prompts to failed/prompts.parquet; there is no file where all are good."""

    def __init__(self, output: Storage) -> None:
        self._output = output
        self._waiting: list[FailedPrompt] = []
        self._file = ExitStack()
        self._writer: parquet.Writer | None = None
        self._first: list[str] = []

    def __enter__(self) -> Self:
        self._output.remove(FAILED_PROMPTS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._file.__exit__(kind, error, tb)

    @property
    def summary(self) -> str:
        """The first few problems, for a message."""
        return "; ".join(self._first) or "the files hold no rows"

    def add(self, failed: FailedPrompt) -> None:
        if len(self._first) < 3:
            self._first.append(f"{failed.source}: {failed.failure.error}")
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


def read_shard(output: Storage, shard: int) -> pa.Table:
    """The groups of one shard, with the columns of `schema.plan`."""
    part, row_group = divmod(shard, SHARDS_PER_PART)
    with parquet.opened(output, part_name(part)) as plan:
        table = plan.group(row_group)
    if set(table["shard"].to_pylist()) != {shard}:
        raise ValueError(f"{output.path(part_name(part))}: row group {row_group} does not hold shard {shard}")
    return table


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """One row group of the plan.

    file, row_group: where it lies; groups: a table with one row per group and the columns of `PLANNED`.
    """

    shard: int
    file: str
    row_group: int
    groups: pa.Table


PLANNED = ("shard", "group_id", "prompt_id", "arm", "rarity")


def planned_shards(output: Storage) -> Iterator[PlannedShard]:
    """The plan, one shard after the other; the driver holds one at a time."""
    for name in output.list("plan"):
        with parquet.opened(output, f"plan/{name}") as plan:
            for number in range(len(plan.rows_of_groups)):
                groups = plan.group(number, PLANNED)
                shard = groups["shard"][0].as_py()
                yield PlannedShard(shard=shard, file=f"plan/{name}", row_group=number, groups=groups)
