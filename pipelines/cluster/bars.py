"""Shows the progress of a running job: bars on standard error for people, and progress.json for scripts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pipelines.cluster.progress import LAST, STAGES, Progress, RemoteProgress, Tracker
from pipelines.cluster.session import on_this_node
from pipelines.dataset.progress_json import ProgressFile

_REFRESH_SECONDS = 0.5
_REFRESH_SECONDS_IN_A_LOG = 15.0
_LAST_REFRESH_SECONDS = 30.0
_MISSED_BEFORE_TOLD = 2
_NO_ANSWER = """
The Ray cluster does not answer. Where its head is lost, Ray ends this process after a minute, without another word; the
same command goes on from the finished shards."""


@contextmanager
def followed(file: ProgressFile, stages: dict[str, str] = STAGES) -> Iterator[Progress]:
    """Show bars on standard error and update progress.json until the block ends; yields what workers report to.

    file: progress.json, which knows how many images there are.
    stages: stage -> name of its bar, like `STAGES`.
    """
    import ray

    handle = on_this_node(Tracker, max_restarts=-1, max_task_retries=-1).remote([*stages])
    progress = RemoteProgress(handle)
    ended = threading.Event()
    with ExitStack() as stack:
        bars = _bars(stack, file.images, file.done, stages)

        def refresh(timeout: float) -> None:
            now = progress.snapshot(timeout)
            for stage, shown in bars.items():
                shown.total = file.images
                shown.update(file.done + now.stages[stage] - shown.n)
            file.update(now)

        def follow() -> None:
            missed = 0
            while not ended.wait(_every()):
                try:
                    refresh(_every())
                    missed = 0
                except ray.exceptions.RayError:  # the tracker starts again, unless the whole cluster is lost
                    missed += 1
                    if missed == _MISSED_BEFORE_TOLD:
                        print(_NO_ANSWER, file=sys.stderr)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield progress
            ended.set()
            follower.join()
            with suppress(ray.exceptions.RayError):  # the run is complete without the last numbers
                refresh(_LAST_REFRESH_SECONDS)
            for shown in bars.values():
                shown.update(file.images - shown.n)
        finally:
            ended.set()
            follower.join()
            with suppress(ray.exceptions.RayError):
                ray.kill(handle)


def _every() -> float:
    return _REFRESH_SECONDS if sys.stderr.isatty() else _REFRESH_SECONDS_IN_A_LOG


def _bars(stack: ExitStack, total_images: int, done_images: int, stages: dict[str, str]) -> dict[str, Any]:
    """A bar per stage on a terminal; in a log only that of the last stage."""
    shown = stages if sys.stderr.isatty() else {LAST: "images"}
    return {
        stage: stack.enter_context(bar(total_images, done_images, name, " images", position))
        for position, (stage, name) in enumerate(shown.items())
    }


def bar(total: int, done: int, name: str, unit: str, position: int = 0) -> Any:
    """A progress bar on standard error, for `with`.

    total: of what is counted.
    done: how many are done before it starts.
    name: text before the bar.
    unit: what is counted.
    position: line on the terminal, from 0.
    """
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
