"""Fills quotas, round by round: plan -> make -> fold and settle -> the next round's plan, until every quota is met or
given up; then the certificate.

A round's plan follows from the rounds before it, which are committed, and from the seed: whenever the job is killed,
the same command goes on, and ends with the bytes of an undisturbed run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from pipelines.config.run import RunConfig
from pipelines.dataset import certificate as certificate_file
from pipelines.dataset import retry
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.run_json import PlanCounts, RunRecord
from pipelines.dataset.sources import SourceWriter
from pipelines.dataset.storage import Storage
from pipelines.flows import run_record
from pipelines.flows.warnings import of_rows
from pipelines.plan import files as plan_files
from pipelines.plan.files import FailureWriter
from pipelines.plan.survey import Survey
from pipelines.plan.write import Tally
from pipelines.prompts.pictures import PictureReader
from pipelines.prompts.rows import PromptRow
from pipelines.quota import census, certificate
from pipelines.quota.budget import Ask, ask
from pipelines.quota.rounds import write_round
from pipelines.quota.shard import settle
from pipelines.quota.state import State

T = TypeVar("T")
R = TypeVar("R")


class Maker(Protocol):
    """Makes shards, and maps functions over them."""

    def make(self, counts: PlanCounts, quotas: Quotas | None = None) -> None:
        """Make the missing shards of a plan; quotas: what is known of them, to be shown."""

    def map_shards(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
        """The built-in `map`, perhaps spread over a cluster."""
        ...


def fill(config: RunConfig, output: Storage, maker: Maker, *, retry_failed: bool = False) -> None:
    """Make rounds until every quota of a run is met or given up, and write the certificate.

    config: the run, with a table [quota].
    output: the output folder.
    maker: makes the shards.
    retry_failed: make the groups in failed/ again first.

    Raises:
        UserError: when a prompt file cannot be read, or the output folder holds another run.
    """
    assert config.quota
    inputs = run_record.plan_inputs(config)
    record = run_record.claim(config, inputs, output)
    segments = record.plan.segments if record.plan else ()
    plan_files.check_there(output, segments)
    plan_files.trim(output, segments)
    pictures = PictureReader(config.prompts)
    counts, people = _census(config, output, record, pictures, anew=retry_failed or record.plan_made_from != inputs)
    arms = [arm.name for arm in config.arms]
    state = State(people, config.quota, arms)
    if retry_failed:
        retry.request(output, counts.shard_numbers())
    folded = 0
    while True:
        if counts.segments:
            if (counts, inputs, config.to_dict()) != (record.plan, record.plan_made_from, record.config):
                run_record.planned(config, output, counts, inputs)
            maker.make(counts, state.totals() if folded else None)
        for segment in counts.segments[folded:]:
            for _ in maker.map_shards(partial(settle, output), state.fold(output, segment)):
                pass
        folded = len(counts.segments)
        if folded:
            print(_told(folded, state.totals()), file=sys.stderr)
        asked = ask(
            state,
            _candidates(config),
            group_size=config.group.size,
            seed=config.run.seed,
            round_number=len(counts.segments),
        )
        if not len(asked.arm_G):
            certificate.write(output, state, arms)
            return
        output.remove(certificate_file.FILE)
        counts = _planned(config, output, counts, asked, state, pictures)


def _told(rounds: int, quotas: Quotas) -> str:
    return (
        f"after round {rounds}: {quotas.met:,} of {quotas.quotas:,} quotas met, {quotas.accepted:,} of "
        f"{quotas.asked:,} images accepted, out of {quotas.made:,} made"
    )


def _candidates(config: RunConfig) -> list[int]:
    assert config.quota
    names = [arm.name for arm in config.arms]
    return [names.index(name) for name in config.quota.candidates or names]


def _census(
    config: RunConfig, output: Storage, record: RunRecord, pictures: PictureReader, *, anew: bool
) -> tuple[PlanCounts, census.Census]:
    """The counts of the plan so far, and whose quotas there are.

    pictures: reads those of the prompts, here and for every round.
    anew: whether the prompts are others than those of the plan: failed/prompts.parquet is written again.
    """
    assert config.quota
    tally = Tally(Survey(config))

    def prompts() -> Iterator[PromptRow]:
        if not anew:
            yield from tally.good_prompts(config, answers=output, pictures=pictures)
            return
        with FailureWriter(output) as failures:
            yield from tally.good_prompts(config, failures, output, pictures=pictures)

    found = census.take(config, config.quota, prompts(), tally.survey.variants)
    tally.check_some(config.prompts)
    if anew:
        for line in of_rows(config, tally.survey):
            print(line, file=sys.stderr)
    before = record.plan
    counts = tally.counts(before.segments if before else ())
    return replace(counts, groups=before.groups if before else 0, images=before.images if before else 0), found


def _planned(
    config: RunConfig, output: Storage, counts: PlanCounts, asked: Ask, state: State, pictures: PictureReader
) -> PlanCounts:
    """The plan with a further round."""
    with ExitStack() as stack:
        first = plan_files.next_first(counts.segments)
        store = SourceWriter(output, first) if config.prompts.columns.pictured else None
        keep = stack.enter_context(store).add if store else None
        prompts = Tally(Survey(config)).good_prompts(config, answers=output, keep=keep, pictures=pictures)
        segment = write_round(config, output, counts.segments, prompts, asked, state.census, state.groups_P)
    segment = replace(segment, sources=store.files if store else 0)
    return replace(
        counts,
        groups=counts.groups + len(asked.arm_G),
        images=counts.images + sum(config.group_sizes[arm] for arm in asked.arm_G.tolist()),
        segments=(*counts.segments, segment),
    )
