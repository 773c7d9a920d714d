"""The flow, top to bottom: config -> lock -> plan -> pending shards -> generate -> score -> write -> finish."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar

from pipelines.cluster.bars import followed
from pipelines.cluster.executor import Chain, Stage, running
from pipelines.cluster.progress import Progress
from pipelines.cluster.session import ordered_map, session, stoppable
from pipelines.config.run import RunConfig
from pipelines.dataset import owned, retry, run_json, sources
from pipelines.dataset.lock import RunLock
from pipelines.dataset.names import SHARD_FOLDERS, shard_file
from pipelines.dataset.progress_json import ProgressFile, Quotas
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.storage import Storage
from pipelines.flows import preflight, run_record
from pipelines.flows.fill import fill
from pipelines.flows.finish import Summary, finish
from pipelines.flows.warnings import of_rows
from pipelines.plan import files as plan_files
from pipelines.plan.survey import Survey
from pipelines.plan.write import write_plan
from pipelines.prompts.pictures import FAILURES
from pipelines.stages.block import COUNTS, REQUEST, make_request, with_images
from pipelines.stages.generate import GenerateShard
from pipelines.stages.score import ScoreShard
from pipelines.stages.write import WriteShard

T = TypeVar("T")
R = TypeVar("R")

_SHARDS_WORTH_RAY_AT_THE_END = 64
FOLDERS = ("", "plan", sources.FOLDER, *SHARD_FOLDERS, retry.FOLDER)
"""Folders in which interrupted writes of a run may have left temporary files."""


def run(config: RunConfig, *, retry_failed: bool = False, break_lock: bool = False) -> Summary:
    """Make the missing shards of a run, and write its summary files.

    config: the run.
    retry_failed: make the groups in failed/ again too.
    break_lock: remove the lock of another job first.

    Raises:
        UserError: when a setting or a prompt file does not fit, or the output folder holds another run.
    """
    output = Storage.open(config.run.output)
    owned.check(output, run_json.FILE, setting="run.output")
    config = preflight.check(config)
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        lock = stack.enter_context(RunLock(output, broken=break_lock))
        for folder in FOLDERS:
            output.sweep(folder)
        maker = _Maker(config, output, stack, lock.check)
        if config.quota:
            fill(config, output, maker, retry_failed=retry_failed)
        else:
            counts = _planned(config, output, again=retry_failed and plans_again(config, output))
            if retry_failed:
                retry.request(output, counts.shard_numbers())
            maker.make(counts)
        maker.end()
        return finish(output, maker.map_shards)


def _planned(config: RunConfig, output: Storage, *, again: bool = False) -> PlanCounts:
    """The existing plan, extended where the prompts or the number of groups have grown.

    again: whether rows are read again, though prompt files and settings are as they were.
    """
    inputs = run_record.plan_inputs(config)
    record = run_record.claim(config, inputs, output)
    segments = record.plan.segments if record.plan else ()
    plan_files.check_there(output, segments)
    plan_files.trim(output, segments)
    if record.plan and record.plan_made_from == inputs and not again:
        return record.plan
    survey = Survey(config)
    counts = write_plan(config, output, record.plan, survey)
    for line in of_rows(config, survey):
        print(line, file=sys.stderr)
    run_record.planned(config, output, counts, inputs)
    return counts


def plans_again(config: RunConfig, output: Storage) -> bool:
    """Whether a retry may find bad rows of unchanged prompt files good by now: prompts that a language model did not
    answer, and those whose pictures were not there.

    config: the run.
    output: the output folder.
    """
    return config.prompts.expand is not None or not plan_files.failed_prompts(output).isdisjoint(FAILURES)


def pending_shards(output: Storage, counts: PlanCounts) -> list[dict[str, Any]]:
    """Requests for the shards still to do: those without a file in data/, which marks a finished shard, and retries.

    output: the output folder.
    counts: of the plan.
    """
    finished = set(output.list("data"))
    again = retry.requested(output, counts.shard_numbers())
    missing = [shard for shard in counts.shard_numbers() if shard_file(shard) not in finished]
    requests = [make_request(shard, retry=False) for shard in missing]
    return requests + [make_request(shard, retry=True) for shard in sorted(set(again) - set(missing))]


class _Maker:
    """Makes the missing shards of plans, with a Ray and workers that it starts when the first is missing, and keeps.

    config: the run.
    output: the output folder.
    stack: ends Ray.
    check: is called after every shard.
    """

    def __init__(self, config: RunConfig, output: Storage, stack: ExitStack, check: Callable[[], None]) -> None:
        self._config, self._output, self._stack, self._check = config, output, stack, check
        self._made = 0
        self._following = ExitStack()
        self._file: ProgressFile | None = None
        self._chain: Chain | None = None

    def make(self, counts: PlanCounts, quotas: Quotas | None = None) -> None:
        """Make the missing shards of a plan.

        counts: of the plan.
        quotas: what is known of the run's quotas; None where it has none.
        """
        pending = pending_shards(self._output, counts)
        if not pending:
            return
        chain = self._running(counts, len(pending), quotas)
        for _ in chain.make(pending, last=not self._config.quota):
            self._check()
        self._made += len(pending)

    def map_shards(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
        """The built-in `map`; over the cluster, where there is one and enough to do for it."""
        if self._made < _SHARDS_WORTH_RAY_AT_THE_END:
            return map(function, items)
        return ordered_map(function, items, cpus=0 if self._chain else 0.5)

    def _running(self, counts: PlanCounts, pending: int, quotas: Quotas | None) -> Chain:
        if self._file is None or self._chain is None:
            where = self._config.ray
            self._stack.enter_context(session(where))
            self._stack.enter_context(self._following)
            workers = {"generate": where.generators, "score": where.scorers, "write": where.writers}
            done = counts.images * (counts.shards - pending) // counts.shards
            self._file = ProgressFile(self._output, images=counts.images, done=done, workers=workers)
            self._following.enter_context(self._file.session())
            progress = self._following.enter_context(followed(self._file))
            through = stages(self._config, self._output, progress)
            self._chain = self._following.enter_context(running(REQUEST, through))
        self._file.expect(counts.images, quotas)
        return self._chain

    def end(self) -> None:
        """End the workers, and record that all is made."""
        self._chain = None
        self._following.close()


def stages(config: RunConfig, output: Storage, progress: Progress) -> list[Stage]:
    """The stages of a run, in order.

    config: the run.
    output: the output folder.
    progress: what the workers report to.
    """
    where = config.ray
    generated, scored = with_images(config.generated), with_images(config.columns(1))
    return [
        Stage(
            kind=GenerateShard,
            arguments={"config": config, "output": output, "progress": progress},
            reads=REQUEST,
            writes=generated,
            workers=where.generators,
            min_workers=where.min_generators,
            cpus=where.cpus_per_generator,
            gpus=where.gpus_per_generator,
            threads=2,  # encoding and writing of a shard overlap with the denoising of the next one
        ),
        Stage(
            kind=ScoreShard,
            arguments={
                "plugins": config.run.plugins,
                "images": config.generated,
                "scoring": config.scoring,
                "scorers": config.scorers,
                "selection": config.selection,
                "output": output,
                "progress": progress,
                "batch_size": config.scoring.batch_size,
                "frames": config.scoring.frames,
                "on_gpu": bool(where.gpus_per_scorer),
            },
            reads=generated,
            writes=scored,
            workers=where.scorers,
            cpus=where.cpus_per_scorer,
            gpus=where.gpus_per_scorer,
        ),
        Stage(
            kind=WriteShard,
            arguments={"output": output, "progress": progress},
            reads=scored,
            writes=COUNTS,
            workers=where.writers,
            cpus=where.cpus_per_writer,
        ),
    ]
