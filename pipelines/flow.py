"""The flow, top to bottom: config -> lock -> plan -> pending shards -> generate -> score -> write -> finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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

_LEAST_SHARDS_PER_ROUND, _MOST_SHARDS_PER_ROUND = 2000, 50_000
_SHARDS_PER_ROUND_AND_GENERATOR = 50
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
        stack.enter_context(ray_session.stoppable())
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
    with file.session(), progress.followed(file, counts.images, done) as tracker:
        for _ in make_all(pending, stages(config, output, tracker), shards_per_round(where.generators)):
            check()


def shards_per_round(generators: int) -> int:
    """Shards given to Ray Data at a time, which bounds what the driver keeps about a run of any length. At the end of a
    round generators wait for the last shard, and the next round loads the model anew: a round holds many shards for
    each generator."""
    wanted = _SHARDS_PER_ROUND_AND_GENERATOR * generators
    return min(max(wanted, _LEAST_SHARDS_PER_ROUND), _MOST_SHARDS_PER_ROUND)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A pool of actors. kind: called with a block of one shard and gives one; arguments: of its constructor; workers:
    most actors, and min_workers to begin with (0: all); threads: shards an actor is handed at a time."""

    kind: type
    arguments: dict[str, Any]
    workers: int
    min_workers: int = 0
    cpus: float
    gpus: float = 0.0
    threads: int = 1


def stages(config: RunConfig, output: Storage, tracker: progress.Progress) -> list[Stage]:
    where = config.ray
    return [
        Stage(
            kind=GenerateShard,
            arguments={"config": config, "output": output, "progress": tracker},
            workers=where.generators,
            min_workers=where.min_generators,
            cpus=where.cpus_per_generator,
            gpus=where.gpus_per_generator,
            threads=2,  # what a generator does beside denoising overlaps with the denoising of its next shard
        ),
        Stage(
            kind=ScoreShard,
            arguments={
                "scoring": config.scoring,
                "selection": config.selection,
                "progress": tracker,
                "group_size": config.group.size,
                "on_gpu": bool(where.gpus_per_scorer),
            },
            workers=where.scorers,
            cpus=where.cpus_per_scorer,
            gpus=where.gpus_per_scorer,
        ),
        Stage(
            kind=WriteShard,
            arguments={"output": output, "progress": tracker},
            workers=where.writers,
            cpus=where.cpus_per_writer,
        ),
    ]


def make_all(orders: Sequence[dict[str, Any]], through: Sequence[Stage], per_round: int) -> Iterator[dict[str, Any]]:
    """`make`, a round after the other."""
    for start in range(0, len(orders), per_round):
        yield from make(orders[start : start + per_round], through)


def make(orders: Sequence[dict[str, Any]], through: Sequence[Stage]) -> Iterator[dict[str, Any]]:
    """Send some shards through the stages; yields the last stage's row for each, in any order."""
    import ray.data
    from ray.data import ActorPoolStrategy

    rows: ray.data.Dataset = ray.data.from_items(list(orders), override_num_blocks=len(orders))
    for stage in through:
        threads: dict[str, Any] = {"max_concurrent_calls_per_actor": stage.threads, "enable_true_multi_threading": True}
        rows = rows.map_batches(
            stage.kind,
            fn_constructor_kwargs=stage.arguments,
            compute=ActorPoolStrategy(
                min_size=stage.min_workers or stage.workers,
                max_size=stage.workers,
                **(threads if stage.threads > 1 else {}),
            ),
            num_cpus=stage.cpus,
            num_gpus=stage.gpus,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
        )
    yield from rows.iter_rows()
