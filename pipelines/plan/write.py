"""Writes the plan: all groups of a run, as Parquet, before any model runs.

`plan/plan-PPPPPP.parquet` holds `SHARDS_PER_PART` shards, one row group each, so a worker reads its own shard and a
short footer only. Rows are prompt by prompt, and the groups of a prompt are in one shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.arms import column_names
from pipelines.config.run import RunConfig
from pipelines.dataset import parquet
from pipelines.dataset.run_json import PlanCounts, Segment
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.plan.files import FailureWriter, PartWriter, next_first, part_names, trim
from pipelines.plan.groups import group_table
from pipelines.plan.shard_size import groups_per_prompt, prompts_per_shard
from pipelines.prompts import rows as prompt_rows
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import Dropped, FailedPrompt, PromptRow

_PROMPTS_PER_CHUNK = 4096
_REASONS_SHOWN = 3


def write_plan(config: RunConfig, output: Storage, before: PlanCounts | None = None) -> PlanCounts:
    """Write the plan and failed/prompts.parquet as streams; the same prompts and config give the same bytes.

    config: the run.
    output: the output folder.
    before: the existing plan of the run; only groups that are not in it are planned, in a new segment.

    Raises:
        UserError: when there is no usable prompt, or groups of `before` would no longer be planned.
    """
    tally = _Tally()
    segments = before.segments if before else ()
    known = _Known(output, segments)
    try:
        writer = PartWriter(output, next_first(segments), column_names(config.arms))
        with writer as parts, FailureWriter(output) as failures:
            good = tally.good_prompts(prompt_rows.read(config.prompts, output), failures)
            per_shard = prompts_per_shard(config)
            per_chunk = per_shard * max(1, _PROMPTS_PER_CHUNK // per_shard)
            while chunk := list(islice(good, per_chunk)):
                for shard in _cut(known.without(group_table(config, chunk)), per_shard):
                    parts.write(shard)
            tally.check_some(config.prompts)
            known.check_all_seen(config, output)
    except BaseException:
        trim(output, segments)
        raise
    return _counts(config, tally, (*segments, parts.segment) if parts.segment.shards else segments)


def count_plan(config: RunConfig) -> PlanCounts:
    """The counts of the plan that `write_plan` would write; reads and checks all prompts, asks no language model (its
    answers are taken to be as many as they are asked for), and writes nothing.

    Raises:
        UserError: when a prompt file cannot be read, or there is no usable prompt.
    """
    tally = _Tally()
    for _ in tally.good_prompts(prompt_rows.read(config.prompts), None):
        pass
    tally.check_some(config.prompts)
    tally.prompts *= config.prompts.expand.most if config.prompts.expand else 1
    return _counts(config, tally, (Segment(first=0, shards=-(-tally.prompts // prompts_per_shard(config))),))


class _Tally:
    def __init__(self) -> None:
        self.prompts = self.bad = self.dropped = 0
        self._reasons: list[str] = []

    def good_prompts(
        self, rows: Iterable[PromptRow | FailedPrompt | Dropped], failures: FailureWriter | None
    ) -> Iterator[PromptRow]:
        for row in rows:
            if isinstance(row, PromptRow):
                self.prompts += 1
                yield row
            elif isinstance(row, FailedPrompt):
                self.bad += 1
                if len(self._reasons) < _REASONS_SHOWN:
                    self._reasons.append(f"{row.source}: {row.failure.error}")
                if failures is not None:
                    failures.add(row)
            else:
                self.dropped += 1

    def check_some(self, prompts: Prompts) -> None:
        if not self.prompts:
            reasons = "; ".join(self._reasons) or "the files hold no rows"
            raise UserError(f"no usable prompt in {prompts.sources}; the reasons: {reasons}")


class _Known:
    """The ids of an earlier plan's groups, 8 bytes each."""

    def __init__(self, output: Storage, segments: tuple[Segment, ...]) -> None:
        ids = [_as_numbers(parquet.read(output, name, ["group_id"])) for name in part_names(segments)]
        self._sorted = np.sort(np.concatenate([np.empty(0, np.uint64), *ids]))
        self._seen = 0

    def without(self, groups: pa.Table) -> pa.Table:
        """Those of some groups that are not in the earlier plan."""
        if not len(self._sorted):
            return groups
        ids = _as_numbers(groups)
        nearest = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        known = self._sorted[nearest] == ids
        self._seen += int(known.sum())
        return groups.filter(pa.array(~known))

    def check_all_seen(self, config: RunConfig, output: Storage) -> None:
        missing = len(self._sorted) - self._seen
        if missing:
            raise UserError(
                f"{missing:,} of the {len(self._sorted):,} groups planned in {output.path('plan')} are not in what "
                f"{config.prompts.sources}, prompts.limit and group.groups_per_prompt ask for now. A run can "
                "be extended by further prompts and groups, but what it has planned stays. Choose another run.output, "
                "or give the earlier prompts as well."
            )


def _as_numbers(groups: pa.Table) -> np.ndarray[Any, np.dtype[np.uint64]]:
    digits = "".join(str(group_id) for group_id in groups["group_id"].to_pylist())
    return np.frombuffer(bytes.fromhex(digits), dtype=">u8").astype(np.uint64)


def _cut(groups: pa.Table, prompts_per_shard: int) -> Iterator[pa.Table]:
    """Groups in shards of `prompts_per_shard` whole prompts; only the last shard may have fewer."""
    ids = np.asarray(groups["prompt_id"].to_pylist())
    ends = [*(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), groups.num_rows]
    start = 0
    for end in [*ends[prompts_per_shard - 1 :: prompts_per_shard], groups.num_rows]:
        if end > start:
            yield groups.slice(start, end - start)
        start = end


def _counts(config: RunConfig, tally: _Tally, segments: tuple[Segment, ...]) -> PlanCounts:
    groups = tally.prompts * groups_per_prompt(config)
    return PlanCounts(
        prompts=tally.prompts,
        bad_prompts=tally.bad,
        dropped=tally.dropped,
        groups=groups,
        images=groups * config.group.size,
        segments=segments,
    )
