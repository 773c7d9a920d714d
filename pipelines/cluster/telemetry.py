"""What a stage says about its work: to Prometheus, through Ray, and to the job's own progress."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipelines.cluster.progress import Progress

PREFIX = "ray_"
"""Ray puts it before every name."""
IMAGES, FAILED, SECONDS = "raydiance_images", "raydiance_failed_groups", "raydiance_busy_seconds"
FILL, GPU_MEMORY = "raydiance_batch_fill", "raydiance_gpu_memory_bytes"


class Telemetry:
    """Of one worker. stage: generate, score or write; progress: where it reports to."""

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
        """`count` images left the stage; moved: the progress bar has them already."""
        if count:
            self._images.inc(count, {"stage": self._stage})
            if not moved:
                self.progress.add(self._stage, count)

    def failed(self, error_types: Iterable[str], *, group_size: int) -> None:
        """Groups were given up; their images will never come, so the progress bar passes over them."""
        kinds = Counter(error_types)
        for kind, count in kinds.items():
            self._failed.inc(count, {"stage": self._stage, "error_type": kind})
        if kinds:
            self.progress.fail(self._stage, dict(kinds), group_size)

    @contextmanager
    def busy(self, part: str) -> Iterator[None]:
        """Time the block. Parts of a stage do not overlap within a worker."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            if seconds > 0:
                self._seconds.inc(seconds, {"stage": self._stage, "part": part})
                self.progress.spend(self._stage, part, seconds)

    def fill(self, share: float) -> None:
        """A denoising batch held this share of the groups it could hold."""
        self._fill.observe(share)

    def gpu_memory(self, bytes_: int) -> None:
        """The worker had as much GPU memory in use (on one GPU, where it has several); 0 without a GPU."""
        if bytes_:
            self._gpu.set(bytes_, {"stage": self._stage})
