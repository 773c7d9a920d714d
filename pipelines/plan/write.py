"""Writes the plan: all groups of a run, as Parquet, before any model runs.

`plan/plan-PPPPPP.parquet` holds `SHARDS_PER_PART` shards, one row group each, so a worker reads its own shard and a
short footer only. Rows are prompt by prompt, and the groups of a prompt are in one shard. Where no row has settings of
its own, prompts are in the order of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config.arms import column_names
from pipelines.config.run import RunConfig
from pipelines.dataset import parquet, schema
from pipelines.dataset.prompt_columns import carried_in
from pipelines.dataset.run_json import PlanCounts, Segment
from pipelines.dataset.sources import Picture, SourceWriter
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.plan.buckets import bucket_of, chunks, cut
from pipelines.plan.files import FailureWriter, PartWriter, next_first, part_names, trim
from pipelines.plan.groups import group_table
from pipelines.plan.survey import Survey
from pipelines.plan.variants import Variants
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.config import Prompts
from pipelines.prompts.pictures import PictureReader
from pipelines.prompts.rows import FailedPrompt, PromptRow


def write_plan(
    config: RunConfig, output: Storage, before: PlanCounts | None = None, survey: Survey | None = None
) -> PlanCounts:
    """Write the plan and failed/prompts.parquet as streams; the same prompts and config give the same bytes.

    config: the run.
    output: the output folder.
    before: the existing plan of the run; only groups that are not in it are planned, in a new segment.
    survey: takes what is found in the files.

    Raises:
        UserError: when there is no usable prompt, or groups of `before` would no longer be planned.
    """
    tally = Tally(survey or Survey(config))
    variants = tally.survey.variants
    segments = before.segments if before else ()
    known = _Known(output, segments)
    try:
        columns = schema.plan(column_names(config.arms), config.more_fields)
        _check_carried(columns, output, segments)
        writer = PartWriter(output, next_first(segments), columns)
        with writer as parts, FailureWriter(output) as failures, ExitStack() as stack:
            store = SourceWriter(output, next_first(segments)) if config.prompts.columns.pictured else None
            keep = stack.enter_context(store).add if store else None
            for chunk in chunks(variants, tally.good_prompts(config, failures, output, keep)):
                for shard in _cut(variants, chunk, known.without(group_table(variants, chunk))):
                    parts.write(shard)
            tally.check_some(config.prompts)
            known.check_all_seen(config, output)
    except BaseException:
        trim(output, segments)
        raise
    segment = replace(parts.segment, sources=store.files if store else 0)
    return tally.counts((*segments, segment) if segment.shards else segments)


def count_plan(config: RunConfig, survey: Survey | None = None) -> PlanCounts:
    """The counts of the plan that `write_plan` would write; reads and checks all prompts, asks no language model (its
    answers are taken to be as many as they are asked for), and writes nothing.

    config: the run.
    survey: takes what is found in the files.

    Raises:
        UserError: when a prompt file cannot be read, or there is no usable prompt.
    """
    expand = config.prompts.expand
    tally = Tally(survey or Survey(config), times=expand.most if expand else 1)
    variants = tally.survey.variants
    shards = 0
    for chunk in chunks(variants, tally.good_prompts(config)):
        shards += sum(1 for _ in cut(variants, [*map(bucket_of, chunk)]))
    tally.check_some(config.prompts)
    return tally.counts((Segment(first=0, shards=shards),))


class Tally:
    """The usable prompts of a run, counted as they pass.

    survey: takes the good ones, and why others are bad.
    times: how often each of them counts.
    """

    def __init__(self, survey: Survey, times: int = 1) -> None:
        self.survey = survey
        self._times = times
        self._prompts = self._bad = self._dropped = 0

    def good_prompts(
        self,
        config: RunConfig,
        failures: FailureWriter | None = None,
        answers: Storage | None = None,
        keep: Callable[[Picture], None] | None = None,
        pictures: PictureReader | None = None,
    ) -> Iterator[PromptRow]:
        """Every usable prompt, in the order of the files.

        config: the run.
        failures: takes the bad rows; None for nobody.
        answers: the output folder, which keeps what a language model has answered; without one nobody is asked.
        keep: takes the pictures of each of them.
        pictures: as of `prompt_reading.read`.
        """
        survey = self.survey
        rules, wanted = survey.variants, survey.wanted
        for row in prompt_reading.read(
            config.prompts, answers, rules=rules, wanted=wanted, carried=config.carried, keep=keep, pictures=pictures
        ):
            if isinstance(row, PromptRow):
                for good in (row,) * self._times:
                    self._prompts += 1
                    survey.add(good)
                    yield good
            elif isinstance(row, FailedPrompt):
                self._bad += 1
                survey.add_bad(row)
                if failures is not None:
                    failures.add(row)
            else:
                self._dropped += 1
        survey.close()

    def check_some(self, prompts: Prompts) -> None:
        """Check that there was a usable prompt.

        prompts: the settings.

        Raises:
            UserError: when there was none.
        """
        if not self._prompts:
            reasons = "; ".join(self.survey.reasons) or "the files hold no rows"
            raise UserError(f"no usable prompt in {prompts.sources}; the reasons: {reasons}")

    def counts(self, segments: tuple[Segment, ...]) -> PlanCounts:
        """The counts of a plan of all groups that the config says.

        segments: of the plan.
        """
        return PlanCounts(
            prompts=self._prompts,
            bad_prompts=self._bad,
            dropped=self._dropped,
            groups=self.survey.groups,
            images=self.survey.images,
            segments=segments,
        )


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


def _check_carried(columns: pa.Schema, output: Storage, segments: tuple[Segment, ...]) -> None:
    """All rows of a run have columns of the same types."""
    now = {field.name: field.type for field in carried_in(columns)}
    for part in islice(part_names(segments), 1):
        before = {field.name: field.type for field in carried_in(parquet.schema_of(output, part))}
        for name, kind in before.items():
            if now.get(name) != kind:
                raise UserError(
                    f"prompts.carry: with the prompts of now {name!r} is {now.get(name)}, in {output.path('plan')} "
                    f"it is {kind}: one dataset cannot have both. Change the new prompts, or choose another run.output."
                )


def _as_numbers(groups: pa.Table) -> np.ndarray[Any, np.dtype[np.uint64]]:
    digits = "".join(str(group_id) for group_id in groups["group_id"].to_pylist())
    return np.frombuffer(bytes.fromhex(digits), dtype=">u8").astype(np.uint64)


def _cut(variants: Variants, chunk: Sequence[PromptRow], groups: pa.Table) -> Iterator[pa.Table]:
    """The groups of some prompts in shards of whole prompts."""
    if not groups.num_rows:
        return
    ids = np.asarray(groups["prompt_id"].to_pylist())
    starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist()]
    ends = [*starts[1:], groups.num_rows]
    buckets = {prompt.prompt_id: bucket_of(prompt) for prompt in chunk}
    for shard in cut(variants, [buckets[ids[start]] for start in starts]):
        parts = [groups.slice(starts[at.start], ends[at.stop - 1] - starts[at.start]) for at in shard]
        yield parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()
