"""Metrics of a stage's work, for Prometheus (through Ray) and for the job's own progress."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipelines.cluster.progress import Progress

PREFIX = "ray_"
"""Ray adds it to the front of every name."""

IMAGES, FAILED, SECONDS = "raydiance_images", "raydiance_failed_groups", "raydiance_busy_seconds"
FILL, GPU_MEMORY = "raydiance_batch_fill", "raydiance_gpu_memory_bytes"


class Telemetry:
    """The metrics of one worker.

    stage: "generate", "score" or "write".
    progress: where it reports to.
    """

    def __init__(self, stage: str, progress: Progress) -> None:
        from ray.util.metrics import Counter as Sum
        from ray.util.metrics import Gauge, Histogram

        self._stage = stage
        self.progress = progress
        self._images = Sum(IMAGES, "Images that left a stage", tag_keys=("stage",))
        self._failed = Sum(FAILED, "Groups that a stage gave up", tag_keys=("stage", "error_type"))
        self._seconds = Sum(SECONDS, "Seconds of work by part of a stage", tag_keys=("stage", "part"))
        tenths = [tenth / 10 for tenth in range(1, 11)]
        self._fill = Histogram(FILL, "Groups of a batch over group.groups_per_batch", boundaries=tenths)
        self._gpu = Gauge(GPU_MEMORY, "Most GPU memory a worker had in use", tag_keys=("stage",))

    def images(self, count: int, *, moved: bool = False) -> None:
        """Count images that left the stage.

        count: number of images.
        moved: whether the progress bar has counted them already.
        """
        if count:
            self._images.inc(count, {"stage": self._stage})
            if not moved:
                self.progress.add(self._stage, count)

    def failed(self, error_types: Iterable[str], *, images: int) -> None:
        """Count groups that failed; the progress bar skips their images.

        error_types: the type of the error for each group.
        images: of all of them.
        """
        kinds = Counter(error_types)
        for kind, count in kinds.items():
            self._failed.inc(count, {"stage": self._stage, "error_type": kind})
        if kinds:
            self.progress.fail(self._stage, dict(kinds), images)

    @contextmanager
    def busy(self, part: str) -> Iterator[None]:
        """Count the seconds of the block. Parts of a stage do not overlap within a worker."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            if seconds > 0:
                self._seconds.inc(seconds, {"stage": self._stage, "part": part})
                self.progress.spend(self._stage, part, seconds)

    def fill(self, share: float) -> None:
        """Record how full a denoising batch was, in [0, 1]: its groups over `group.groups_per_batch`."""
        self._fill.observe(share)

    def gpu_memory(self, bytes_: int) -> None:
        """Record the worker's peak GPU memory in bytes (of one GPU, where it has several); 0 without a GPU."""
        if bytes_:
            self._gpu.set(bytes_, {"stage": self._stage})
