"""Counts the progress of a run, and the groups whose workers died: all workers report to one actor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

from pipelines.cluster.crashes import Crashes
from pipelines.dataset.progress_json import Snapshot

P = ParamSpec("P")
R = TypeVar("R")

STAGES = {"generate": "denoise", "score": "score", "write": "write"}
"""Stage -> the name of its bar, in the order of the flow of `jobs/synth.py`."""

LAST = "write"
"""The last stage of every flow: images that have passed it are done."""


class Progress(Protocol):
    """What a worker reports to a `Tracker`, here or in another process. Groups are named by their index in the shard.

    `add`, `fail` and `spend` do not wait for the tracker; the others do, as their reports must outlive the worker.
    """

    def add(self, stage: str, images: float) -> None:
        """Count images that passed a stage; a half-denoised image counts as half."""

    def fail(self, stage: str, kinds: dict[str, int], images: int) -> None:
        """Count groups that failed, whose images will not reach this stage and those after it.

        stage: where they failed.
        kinds: type of the error -> number of groups.
        images: of all of them.
        """

    def spend(self, stage: str, part: str, seconds: float) -> None:
        """Count seconds of work in a part of a stage."""

    def attempt(self, shard: int) -> dict[int, int]:
        """As `Crashes.attempt`."""

    def begin(self, shard: int, groups: Sequence[int]) -> None:
        """As `Crashes.begin`."""

    def end(self, shard: int) -> None:
        """As `Crashes.end`."""


class Tracker:
    """Counts the reports of workers; for workers in its own process it is the `Progress` itself.

    stages: names of the stages in order.
    """

    def __init__(self, stages: Sequence[str] = (*STAGES,)) -> None:
        self._stages = stages
        self._images: dict[str, float] = {}
        self._passed_over: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._crashes = Crashes()

    def add(self, stage: str, images: float) -> None:
        self._images[stage] = self._images.get(stage, 0) + images

    def fail(self, stage: str, kinds: dict[str, int], images: int) -> None:
        self._failures.update(kinds)
        for later in self._stages[self._stages.index(stage) :]:
            self._passed_over[later] += images

    def spend(self, stage: str, part: str, seconds: float) -> None:
        name = f"{stage}.{part}"
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def attempt(self, shard: int) -> dict[int, int]:
        return self._crashes.attempt(shard)

    def begin(self, shard: int, groups: Sequence[int]) -> None:
        self._crashes.begin(shard, groups)

    def end(self, shard: int) -> None:
        self._crashes.end(shard)

    def snapshot(self) -> Snapshot:
        """The counts so far."""
        return Snapshot(
            stages={stage: self._images.get(stage, 0) + self._passed_over[stage] for stage in self._stages},
            made=int(self._images.get(LAST, 0)),
            failures=dict(self._failures),
            busy_seconds=dict(self._seconds),
        )


@dataclass(frozen=True)
class RemoteProgress:
    """A `Progress` that reports to a `Tracker` in a Ray actor."""

    actor: Any
    """The actor's handle, which has no static type."""

    def add(self, stage: str, images: float) -> None:
        self._call(Tracker.add, stage, images)

    def fail(self, stage: str, kinds: dict[str, int], images: int) -> None:
        self._call(Tracker.fail, stage, kinds, images)

    def spend(self, stage: str, part: str, seconds: float) -> None:
        self._call(Tracker.spend, stage, part, seconds)

    def attempt(self, shard: int) -> dict[int, int]:
        return self._ask(Tracker.attempt, shard)

    def begin(self, shard: int, groups: Sequence[int]) -> None:
        self._ask(Tracker.begin, shard, groups)

    def end(self, shard: int) -> None:
        self._ask(Tracker.end, shard)

    def snapshot(self, timeout_s: float) -> Snapshot:
        """The counts so far.

        timeout_s: how long to wait, in seconds.

        Raises:
            ray.exceptions.GetTimeoutError: when the actor does not answer in time.
        """
        import ray

        return cast(Snapshot, ray.get(self._call(Tracker.snapshot), timeout=timeout_s))

    def _call(self, method: Callable[Concatenate[Tracker, P], R], *arguments: P.args, **named: P.kwargs) -> Any:
        """Ray's reference to the result of a method. The method is passed itself, and not its name, so that mypy checks
        the call."""
        return getattr(self.actor, method.__name__).remote(*arguments, **named)

    def _ask(self, method: Callable[Concatenate[Tracker, P], R], *arguments: P.args, **named: P.kwargs) -> R:
        import ray

        return cast(R, ray.get(self._call(method, *arguments, **named)))


class Meter:
    """Reports the steps of a batch, for `with`; reverts the reports if the batch raises, as it will be made again.

    progress: where to report.
    images: images in the batch.
    """

    def __init__(self, progress: Progress, *, images: int) -> None:
        self._progress = progress
        self._images = images
        self._reported = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._report(0.0 if kind else float(self._images))

    def step(self, done: int, of: int) -> None:
        """Report that `done` of `of` denoising steps are done."""
        self._report(self._images * done / of)

    def _report(self, images: float) -> None:
        if images != self._reported:
            self._progress.add("generate", images - self._reported)
            self._reported = images
