"""The flow, top to bottom: config -> plan -> pending shards -> generate -> score -> write -> finish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines import plan, preflight, progress, ray_session, run_record
from pipelines.config import RunConfig
from pipelines.finish import Summary, finish
from pipelines.manifest import shard_file
from pipelines.plan import PlanCounts
from pipelines.stages.generate import GenerateShard
from pipelines.stages.score import ScoreShard
from pipelines.stages.write import WriteShard
from pipelines.storage import Storage

SHARDS_PER_ROUND = 2000
"""Shards given to Ray Data at a time: bounds what the driver keeps about a run of any length."""


def run(config: RunConfig) -> Summary:
    """Do what is not done yet of the run in `config.run.output`, and sum it up."""
    output = Storage.open(config.run.output)
    config = preflight.check(config)
    counts = run_record.start(config, output)
    if counts is None:
        counts = plan.write(config, output)
        run_record.planned(config, output, counts)
    pending = pending_shards(output, counts)
    timings = Timings()
    if pending:
        with ray_session.session(config.ray), progress.bar(counts.images, _done(counts, pending)) as bar:
            for start in range(0, len(pending), SHARDS_PER_ROUND):
                for row in make(config, output, pending[start : start + SHARDS_PER_ROUND], bar):
                    timings.add(row)
    return finish(output, timings.stages if pending else None)


def pending_shards(output: Storage, counts: PlanCounts) -> list[int]:
    """Shards whose file in data/, the mark of a finished shard, is not there."""
    finished = set(output.list("data"))
    return [shard for shard in range(counts.shards) if shard_file(shard) not in finished]


def make(
    config: RunConfig, output: Storage, shards: Sequence[int], bar: progress.ProgressActor
) -> Iterator[dict[str, Any]]:
    """Make some shards; yields one row of counts and seconds per finished shard, in any order."""
    import ray.data
    from ray.data import ActorPoolStrategy

    where = config.ray
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
    rows = (
        ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        .map_batches(
            GenerateShard,
            fn_constructor_kwargs={"config": config, "output": output, "progress": bar},
            compute=ActorPoolStrategy(size=where.generators),
            num_cpus=where.cpus_per_generator,
            num_gpus=where.gpus_per_generator,
            **whole,
        )
        .map_batches(
            ScoreShard,
            fn_constructor_kwargs={"config": config},
            compute=ActorPoolStrategy(size=where.scorers),
            num_cpus=where.cpus_per_scorer,
            num_gpus=where.gpus_per_scorer,
            **whole,
        )
        .map_batches(
            WriteShard,
            fn_constructor_kwargs={"output": output},
            compute=ActorPoolStrategy(size=where.writers),
            num_cpus=where.cpus_per_writer,
            **whole,
        )
    )
    yield from rows.iter_rows()


def _done(counts: PlanCounts, pending: Sequence[int]) -> int:
    """Images of finished shards; a plan's last shard may be short, which a progress bar may get wrong by a little."""
    return counts.images * (counts.shards - len(pending)) // counts.shards


@dataclass
class Timings:
    """Busy seconds of the stages in this session, for the report."""

    stages: dict[str, dict[str, float]] = field(
        default_factory=lambda: {stage: {"images": 0.0, "seconds": 0.0} for stage in ("generate", "score")}
    )

    def add(self, row: dict[str, Any]) -> None:
        for stage, sums in self.stages.items():
            sums["images"] += row["kept"] + row["rejected"]
            sums["seconds"] += row[f"{stage}_seconds"]
