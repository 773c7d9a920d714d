"""Sends shards through a chain of actor pools, with Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LEAST_SHARDS_PER_ROUND, _MOST_SHARDS_PER_ROUND = 2000, 50_000
_SHARDS_PER_ROUND_AND_GENERATOR = 50

Columns = Mapping[str, str]
"""Column of a block -> what it means; `images.seed` is a column of the images in the block."""


def shards_per_round(generators: int) -> int:
    """Number of shards that are given to Ray Data at a time, which bounds the driver's memory for a run of any length.

    At the end of a round generators wait for the last shard, and the next round loads the model again: a round has many
    shards for each generator.
    """
    wanted = _SHARDS_PER_ROUND_AND_GENERATOR * generators
    return min(max(wanted, _LEAST_SHARDS_PER_ROUND), _MOST_SHARDS_PER_ROUND)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A pool of actors."""

    kind: type
    """Class of the actors: they are called with the block of one shard, and return a block."""
    arguments: dict[str, Any]
    """Arguments of the constructor of `kind`."""
    reads: Columns
    """Columns that it needs in its input."""
    writes: Columns
    """All columns of its output."""
    workers: int
    """Most actors in the pool."""
    min_workers: int = 0
    """Actors at the start; 0 for `workers`."""
    cpus: float
    """CPUs that Ray reserves for an actor."""
    gpus: float = 0.0
    """GPUs that Ray reserves for an actor."""
    threads: int = 1
    """Shards that an actor works on at a time."""


def check_chain(columns: Iterable[str], through: Sequence[Stage]) -> None:
    """Check that every stage gets the columns that it reads.

    columns: of the input of the first stage.
    through: the stages in order.

    Raises:
        ValueError: when a stage reads a column that the stage before it does not write.
    """
    present, source = set(columns), "what goes into the chain"
    for stage in through:
        name = stage.kind.__name__
        if missing := [column for column in stage.reads if column not in present]:
            raise ValueError(
                f"{name} reads the column {missing[0]!r} ({stage.reads[missing[0]]}), which {source} does not have; "
                f"missing in all: {', '.join(missing)}. Put a stage before it that writes them."
            )
        present, source = set(stage.writes), f"what {name} writes"


def make_all(requests: Sequence[dict[str, Any]], through: Sequence[Stage], per_round: int) -> Iterator[dict[str, Any]]:
    """`make`, in rounds.

    requests, through: as for `make`.
    per_round: number of requests in a round.
    """
    for start in range(0, len(requests), per_round):
        yield from make(requests[start : start + per_round], through)


def make(requests: Sequence[dict[str, Any]], through: Sequence[Stage]) -> Iterator[dict[str, Any]]:
    """Send shards through the stages; yields the last stage's row for each, in any order.

    requests: a row for each shard, the input of the first stage.
    through: the stages in order.

    Raises:
        ValueError: when the stages do not fit together, before any actor starts.
    """
    check_chain(requests[0] if requests else (), through)
    import ray.data
    from ray.data import ActorPoolStrategy

    rows: ray.data.Dataset = ray.data.from_items(list(requests), override_num_blocks=len(requests))
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
