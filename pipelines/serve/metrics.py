"""The metrics for Prometheus at /metrics. Ray exports further metrics of every deployment itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_GROUPS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one web process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        every: dict[str, Any] = {"namespace": "raydiance", "registry": self._registry}
        self.requests = Counter("image_requests", "Requests for images, by the answer's status", ["status"], **every)
        self.images = Counter("images", "Images made", **every)
        self.in_flight = Gauge("requests_in_flight", "Requests for images being answered", **every)
        self.latency = Histogram("request_seconds", "Seconds from request to images", buckets=_SECONDS, **every)
        self.queue = Histogram("queue_seconds", "Seconds until a batch begins", buckets=_SECONDS, **every)
        self.generate = Histogram("generate_seconds", "Seconds of a denoising batch", buckets=_SECONDS, **every)
        self._jobs = Gauge("jobs", "Jobs that are not forgotten, by status", ["status"], **every)
        self.groups = Histogram("groups_per_batch", "Groups denoised together", buckets=_GROUPS, **every)

        self.requests_by_key = Counter(
            "requests_by_key",
            "Requests that make something, by the key's name and the status",
            ["key", "status"],
            **every,
        )
        self.images_by_key = Counter("images_by_key", "Images asked for, by the key's name", ["key"], **every)

    def text(self, jobs: Mapping[str, int]) -> bytes:
        """All metrics in Prometheus's text format.

        jobs: how many there are, by status; none where it is not known.
        """
        self._jobs.clear()
        for status, count in jobs.items():
            self._jobs.labels(status).set(count)
        return generate_latest(self._registry)
