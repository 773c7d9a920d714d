"""Shards through a chain of actor pools, with Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_LEAST_SHARDS_PER_ROUND, _MOST_SHARDS_PER_ROUND = 2000, 50_000


_SHARDS_PER_ROUND_AND_GENERATOR = 50


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
