"""What a person and a script see of a running job: bars on standard error, and progress.json."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pipelines.cluster.progress import LAST, STAGES, Progress, RemoteProgress, Tracker
from pipelines.dataset.progress_json import ProgressFile

_REFRESH_SECONDS = 0.5
_REFRESH_SECONDS_IN_A_LOG = 15.0
_LAST_LOOK_SECONDS = 30.0


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
    handle = actor.options(scheduling_strategy=here).remote([*stages])
    progress = RemoteProgress(handle)
    ended = threading.Event()
    with ExitStack() as stack:
        bars = _bars(stack, total_images, done_images, stages)

        def look(timeout: float) -> None:
            now = progress.snapshot(timeout)
            for stage, shown in bars.items():
                shown.update(done_images + now.stages[stage] - shown.n)
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
            yield progress
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
                ray.kill(handle)


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
