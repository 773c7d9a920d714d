"""The flow, top to bottom: config -> lock -> plan -> pending shards -> generate -> score -> write -> finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pipelines import plan, plan_files, preflight, progress, ray_session, retry, run_record
from pipelines.config import RunConfig
from pipelines.finish import Summary, finish
from pipelines.manifest import shard_file
from pipelines.plan import PlanCounts
from pipelines.progress_file import ProgressFile
from pipelines.run_lock import RunLock
from pipelines.stages.block import order
from pipelines.stages.generate import GenerateShard
from pipelines.stages.score import ScoreShard
from pipelines.stages.write import WriteShard
from pipelines.storage import Storage

LEAST_SHARDS_PER_ROUND, SHARDS_PER_ROUND_AND_GENERATOR = 2000, 100
"""Shards given to Ray Data at a time: bounds what the driver keeps about a run of any length. The end of a round, where
generators wait for the last shard, is about a hundredth of it."""
_SHARDS_WORTH_RAY_IN_THE_END = 64
_PATIENCE_AT_THE_START_SECONDS = 30.0
FOLDERS = ("", "plan", "data", "rejected", "failed", retry.FOLDER)


def run(config: RunConfig, *, retry_failed: bool = False, break_lock: bool = False) -> Summary:
    """Do what is not done yet of the run in `config.run.output`, and sum it up.

    retry_failed: also make again what lies in failed/; break_lock: write there even if another job seems to.
    """
    output = Storage.open(config.run.output)
    config = preflight.check(config)
    with ExitStack() as stack:
        # What is wrong with a folder from the start is said soon, not waited for.
        lock = stack.enter_context(
            RunLock(replace(output, patience_seconds=_PATIENCE_AT_THE_START_SECONDS), broken=break_lock)
        )
        for folder in FOLDERS:
            output.sweep(folder)
        counts = _planned(config, output)
        if retry_failed:
            retry.request(output, counts.shard_numbers())
        pending = pending_shards(output, counts)
        if not pending:
            return finish(output)
        stack.enter_context(ray_session.session(config.ray))
        _make_all(config, output, counts, pending, lock.check)
        few = len(pending) < _SHARDS_WORTH_RAY_IN_THE_END
        return finish(output) if few else finish(output, ray_session.ordered_map)


def _planned(config: RunConfig, output: Storage) -> PlanCounts:
    """The plan that there is, extended where the prompts or the number of groups have grown."""
    there = run_record.claim(config, output)
    plan_files.trim(output, there.counts.segments if there else ())
    made_from = run_record.made_from(config)
    if there and there.made_from == made_from:
        return there.counts
    counts = plan.write(config, output, there.counts if there else None)
    run_record.planned(config, output, run_record.Planned(counts=counts, made_from=made_from))
    return counts


def pending_shards(output: Storage, counts: PlanCounts) -> list[dict[str, Any]]:
    """The orders that are open: shards whose file in data/, the mark of a finished shard, is not there, and retries."""
    finished = set(output.list("data"))
    again = retry.requested(output, counts.shard_numbers())
    missing = [shard for shard in counts.shard_numbers() if shard_file(shard) not in finished]
    orders = [order(shard, retry=False) for shard in missing]
    return orders + [order(shard, retry=True) for shard in sorted(set(again) - set(missing))]


def _make_all(
    config: RunConfig,
    output: Storage,
    counts: PlanCounts,
    pending: Sequence[dict[str, Any]],
    check: Callable[[], None],
) -> None:
    where = config.ray
    workers = {"generate": where.generators, "score": where.scorers, "write": where.writers}
    done = counts.images * (counts.shards - len(pending)) // counts.shards
    file = ProgressFile(output, images=counts.images, done=done, workers=workers)
    per_round = max(LEAST_SHARDS_PER_ROUND, SHARDS_PER_ROUND_AND_GENERATOR * where.generators)
    with file.session(), progress.followed(file, counts.images, done) as tracker:
        for start in range(0, len(pending), per_round):
            for _ in make(config, output, pending[start : start + per_round], tracker):
                check()


def make(
    config: RunConfig, output: Storage, orders: Sequence[dict[str, Any]], tracker: progress.ProgressActor
) -> Iterator[dict[str, Any]]:
    """Make some shards; yields one row of counts per finished shard, in any order."""
    import ray.data
    from ray.data import ActorPoolStrategy

    where = config.ray
    # Two calls at a time: what a generator does beside denoising overlaps with the denoising of its next shard.
    threads = {"max_concurrent_calls_per_actor": 2, "enable_true_multi_threading": True}
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
    rows = (
        ray.data.from_items(list(orders), override_num_blocks=len(orders))
        .map_batches(
            GenerateShard,
            fn_constructor_kwargs={"config": config, "output": output, "progress": tracker},
            compute=ActorPoolStrategy(
                min_size=where.min_generators or where.generators, max_size=where.generators, **threads
            ),
            num_cpus=where.cpus_per_generator,
            num_gpus=where.gpus_per_generator,
            **whole,
        )
        .map_batches(
            ScoreShard,
            fn_constructor_kwargs={"config": config, "progress": tracker},
            compute=ActorPoolStrategy(size=where.scorers),
            num_cpus=where.cpus_per_scorer,
            num_gpus=where.gpus_per_scorer,
            **whole,
        )
        .map_batches(
            WriteShard,
            fn_constructor_kwargs={"output": output, "progress": tracker},
            compute=ActorPoolStrategy(size=where.writers),
            num_cpus=where.cpus_per_writer,
            **whole,
        )
    )
    yield from rows.iter_rows()
