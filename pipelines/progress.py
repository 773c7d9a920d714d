"""A progress bar that moves with every denoising step, wherever the generators run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

ProgressActor = Any
"""Handle of a `Count` actor (Ray's handles have no static type)."""

_REFRESH_SECONDS = 0.5
_REFRESH_SECONDS_IN_A_LOG = 15.0


class Count:
    """Actor: how many images are done, a half-done image counted as half."""

    def __init__(self) -> None:
        self._images = 0.0

    def add(self, images: float) -> None:
        self._images += images

    def images(self) -> float:
        return self._images


class Meter:
    """Reports the steps of a batch of `images` images; takes them back if the batch raises, since it will be redone."""

    def __init__(self, progress: ProgressActor, *, images: int) -> None:
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
            self._progress.add.remote(images - self._reported)
            self._reported = images


@contextmanager
def bar(total_images: int, done_images: int) -> Iterator[ProgressActor]:
    """Show a bar on standard error until the block ends; yields the actor that generators report to."""
    import ray
    from tqdm import tqdm

    count: ProgressActor = ray.remote(num_cpus=0)(Count).remote()
    every = _REFRESH_SECONDS if sys.stderr.isatty() else _REFRESH_SECONDS_IN_A_LOG
    ended = threading.Event()
    with tqdm(
        total=total_images,
        initial=done_images,
        unit=" images",
        desc="images",
        mininterval=every,
        bar_format="{desc} {percentage:3.0f} %|{bar}| {n:.0f}/{total} [{elapsed} < {remaining}, {rate_fmt}]",
    ) as shown:

        def follow() -> None:
            while not ended.wait(every):
                try:
                    images = ray.get(count.images.remote(), timeout=every)
                except ray.exceptions.GetTimeoutError:
                    continue
                except ray.exceptions.RayError:
                    return  # Ray is shutting down
                shown.update(done_images + images - shown.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield count
            shown.update(total_images - shown.n)
        finally:
            ended.set()
            follower.join()
            ray.kill(count)
