"""How far a run is: one actor that all workers report to, bars for a person, and progress.json for a script."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from pipelines.cluster.crashes import Crashes
from pipelines.dataset.progress_json import ProgressFile


class Progress(Protocol):
    """The way from a worker to the job's `Tracker`."""

    def tell(self, method: str, *arguments: Any) -> None:
        """Call one of its methods, without waiting for it."""

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call one of its methods; returns what it returns."""


@dataclass(frozen=True)
class Remote:
    """`Progress` through the handle of a Ray actor (which has no static type)."""

    actor: Any

    def tell(self, method: str, *arguments: Any) -> None:
        getattr(self.actor, method).remote(*arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self.actor, method).remote(*arguments))


STAGES = {"generate": "denoise", "score": "score", "write": "write"}
"""Stage -> the name of its bar, in the order of the flow of `jobs/synth.py`."""
LAST = "write"
"""The last stage of every flow: what has passed it is done."""
_REFRESH_SECONDS = 0.5
_REFRESH_SECONDS_IN_A_LOG = 15.0
_LAST_LOOK_SECONDS = 30.0


class Tracker(Crashes):
    """Actor: images through each stage (a half-denoised image counts as half), failures, seconds of work, crashes."""

    def __init__(self, stages: Sequence[str] = (*STAGES,)) -> None:
        super().__init__()
        self._stages = stages
        self._images: Counter[str] = Counter()
        self._passed_over: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()

    def add(self, stage: str, images: float) -> None:
        self._images[stage] += images  # type: ignore[assignment]  # halves are fine

    def fail(self, stage: str, kinds: dict[str, int], group_size: int) -> None:
        """Groups whose images the stages from this one on will not see."""
        self._failures.update(kinds)
        for later in self._stages[self._stages.index(stage) :]:
            self._passed_over[later] += sum(kinds.values()) * group_size

    def spend(self, stage: str, part: str, seconds: float) -> None:
        self._seconds[f"{stage}.{part}"] += seconds  # type: ignore[assignment]

    def snapshot(self) -> dict[str, Any]:
        """stages: images past each stage; made: images in files; failures: groups by type; busy_seconds by part."""
        return {
            "stages": {stage: self._images[stage] + self._passed_over[stage] for stage in self._stages},
            "made": self._images[LAST],
            "failures": dict(self._failures),
            "busy_seconds": dict(self._seconds),
        }


class Meter:
    """Reports the steps of a batch of `images` images; takes them back if the batch raises, since it will be redone."""

    def __init__(self, progress: Progress, *, images: int) -> None:
        self._progress = progress
        self._images = images
        self._reported = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._report(0.0 if kind else float(self._images))

    def step(self, done: int, of: int) -> None:
        """`done` of `of` denoising steps are done."""
        self._report(self._images * done / of)

    def _report(self, images: float) -> None:
        if images != self._reported:
            self._progress.tell("add", "generate", images - self._reported)
            self._reported = images


@contextmanager
def followed(
    file: ProgressFile, total_images: int, done_images: int, stages: dict[str, str] = STAGES
) -> Iterator[Progress]:
    """Show bars on standard error and keep progress.json until the block ends; yields the way to report to it.

    stages: like `STAGES`.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver, which outlives the spot machines of the workers.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tracker)
    tracker: Any = actor.options(scheduling_strategy=here).remote([*stages])
    ended = threading.Event()
    with ExitStack() as stack:
        bars = _bars(stack, total_images, done_images, stages)

        def look(timeout: float) -> None:
            now = ray.get(tracker.snapshot.remote(), timeout=timeout)
            for stage, shown in bars.items():
                shown.update(done_images + now["stages"][stage] - shown.n)
            file.update(now)

        def follow() -> None:
            while not ended.wait(_every()):
                try:
                    look(_every())
                except ray.exceptions.GetTimeoutError:
                    continue
                except ray.exceptions.RayError:
                    return  # Ray is shutting down

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield Remote(tracker)
            ended.set()
            follower.join()
            with suppress(ray.exceptions.RayError):  # the last numbers are a courtesy
                look(_LAST_LOOK_SECONDS)
            for shown in bars.values():
                shown.update(total_images - shown.n)
        finally:
            ended.set()
            follower.join()
            with suppress(ray.exceptions.RayError):
                ray.kill(tracker)


def _every() -> float:
    return _REFRESH_SECONDS if sys.stderr.isatty() else _REFRESH_SECONDS_IN_A_LOG


def _bars(stack: ExitStack, total_images: int, done_images: int, stages: dict[str, str]) -> dict[str, Any]:
    """A bar per stage on a terminal; in a log only the last stage's, which is the slowest to move."""
    shown = stages if sys.stderr.isatty() else {LAST: "images"}
    return {
        stage: stack.enter_context(bar(total_images, done_images, name, " images", position))
        for position, (stage, name) in enumerate(shown.items())
    }


def bar(total: int, done: int, name: str, unit: str, position: int = 0) -> Any:
    """A progress bar on standard error, for `with`; `done` of `total` are done before it starts."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=f"{name:<8}",
        position=position,
        mininterval=_every(),
        bar_format="{desc} {percentage:3.0f} %|{bar}| {n:.0f}/{total} [{elapsed} < {remaining}, {rate_fmt}]",
    )
