"""Sends shards through a chain of actor pools, with Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_WAITING_PER_CALL = 3
_WITHOUT_LIMIT = 1e6
_LEAST_SHARDS, _SHARDS_PER_WORKER, _MOST_SHARDS = 20_000, 50, 100_000

Columns = Mapping[str, str]
"""Column of a block -> what it means; `images.seed` is a column of the images in the block."""


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


def most_waiting(through: Sequence[Stage]) -> int:
    """Number of shards that are with the stages at a time: more than their actors work on, as Ray Data hands each actor
    the next ones ahead, and no more, as shards that are done with a stage fill the object store.

    through: the stages.
    """
    return _WAITING_PER_CALL * sum(stage.workers * stage.threads for stage in through)


def most_shards(through: Sequence[Stage]) -> int:
    """Number of shards after which all actors start anew, as Ray Data remembers 12 KB of each until it ends.

    through: the stages.
    """
    wanted = _SHARDS_PER_WORKER * max(stage.workers for stage in through)
    return min(max(wanted, _LEAST_SHARDS), _MOST_SHARDS)


class Chain:
    """Stages whose actors stay, with what they have loaded, from one `make` to the next.

    through: the stages in order.
    """

    def __init__(self, through: Sequence[Stage]) -> None:
        self._through = through
        self._flow: _Flow | None = None

    def make(self, requests: Sequence[dict[str, Any]], *, last: bool) -> Iterator[dict[str, Any]]:
        """Send shards through the stages; yields the last stage's row for each, in any order.

        requests: a row for each shard, the input of the first stage.
        last: whether no others will follow: an actor ends then as soon as it has no work.
        """
        at = 0
        while at < len(requests):
            if self._flow and not self._flow.room:
                self.end()
            self._flow = self._flow or _Flow(self._through)
            part = requests[at : at + self._flow.room]
            at += len(part)
            yield from self._flow.make(part, last=last and at == len(requests))

    def end(self) -> None:
        """End the actors, which have no work any more."""
        if self._flow:
            self._flow.end()
            self.close()

    def close(self) -> None:
        """End the actors, whatever they do."""
        if self._flow:
            self._flow.close()
            self._flow = None


@contextmanager
def running(columns: Iterable[str], through: Sequence[Stage]) -> Iterator[Chain]:
    """A chain of stages, for as long as the block takes. The actors start with the first request.

    columns: of the requests.
    through: the stages in order.

    Raises:
        ValueError: when the stages do not fit together.
    """
    check_chain(columns, through)
    chain = Chain(through)
    try:
        yield chain
        chain.end()
    finally:
        chain.close()


class _Flow:
    """One execution of Ray Data, which gets its requests while it runs."""

    def __init__(self, through: Sequence[Stage]) -> None:
        from pipelines.cluster.feed import Feed
        from pipelines.cluster.session import on_this_node

        self.room = most_shards(through)
        """Requests that it can still take."""
        self._most_waiting = most_waiting(through)
        self._feed = on_this_node(Feed).remote()
        rows = _dataset(self._feed, through)
        self._blocks = iter(rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))

    def make(self, requests: Sequence[dict[str, Any]], *, last: bool) -> Iterator[dict[str, Any]]:
        self.room = 0 if last else self.room - len(requests)
        sent = made = 0
        while made < len(requests):
            if more := requests[sent : made + self._most_waiting]:
                sent += len(more)
                self._add(more, last=not self.room and sent == len(requests))
            if (block := next(self._blocks, None)) is None:
                raise RuntimeError(f"the stages ended after {made} of {len(requests)} shards")
            for row in block.to_pylist():
                made += 1
                yield row

    def end(self) -> None:
        if self.room:
            self._add((), last=True)
        for block in self._blocks:  # empty ones, of read tasks that had nothing to give
            if block.num_rows:
                raise RuntimeError(f"a stage gave {block.num_rows} rows more than it got")

    def _add(self, requests: Sequence[dict[str, Any]], *, last: bool) -> None:
        import ray

        ray.get(self._feed.add.remote(requests, last=last))

    def close(self) -> None:
        import ray

        self._blocks.close()
        with suppress(ray.exceptions.RayError):  # the cluster may be lost
            ray.kill(self._feed)


def _dataset(feed: Any, through: Sequence[Stage]) -> Any:
    import ray.data
    from ray.data import ActorPoolStrategy

    from pipelines.cluster.feed import LANES, Requests

    def pool(least: int, most: int, calls: int) -> ActorPoolStrategy:
        threads: dict[str, Any] = {"max_concurrent_calls_per_actor": calls, "enable_true_multi_threading": True}
        return ActorPoolStrategy(min_size=least, max_size=most, **(threads if calls > 1 else {}))

    rows: ray.data.Dataset = ray.data.read_datasource(
        Requests(feed), num_cpus=0, compute=pool(1, 1, LANES), override_num_blocks=LANES
    )
    rows.context.target_max_block_size = 1  # each row is a block, which no stage holds back to make a larger one
    # The driver bounds what is under way. Budgets of memory could stop all stages at once, which Ray Data sees only
    # where no task runs at all, and here some always read.
    rows.context.override_object_store_memory_limit_fraction = _WITHOUT_LIMIT
    rows.context.autoscaling_config.actor_pool_util_downscaling_threshold = -1  # actors stay while they have no work
    for stage in through:
        rows = rows.map_batches(
            stage.kind,
            fn_constructor_kwargs=stage.arguments,
            compute=pool(stage.min_workers or stage.workers, stage.workers, stage.threads),
            num_cpus=stage.cpus,
            num_gpus=stage.gpus,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
        )
    return rows
