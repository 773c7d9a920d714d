"""The metrics for Prometheus at /metrics. Ray exports further metrics of every deployment itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_GROUPS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class OfModel:
    """The metrics of one model."""

    images: Counter
    in_flight: Gauge
    latency: Histogram
    queue: Histogram
    generate: Histogram
    groups: Histogram
    answered: Callable[[str], None]
    """Counts an answer, by its status."""


class Metrics:
    """The metrics of one web process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        every: dict[str, Any] = {"namespace": "raydiance", "registry": self._registry}
        of_model: dict[str, Any] = {"labelnames": ["model"], **every}
        seconds: dict[str, Any] = {"buckets": _SECONDS, **of_model}
        said = "Requests for images, by the answer's status"
        self._requests = Counter("image_requests", said, ["model", "status"], **every)
        self._images = Counter("images", "Images made", **of_model)
        self._in_flight = Gauge("requests_in_flight", "Requests for images being answered", **of_model)
        self._latency = Histogram("request_seconds", "Seconds from request to images", **seconds)
        self._queue = Histogram("queue_seconds", "Seconds until a batch begins", **seconds)
        self._generate = Histogram("generate_seconds", "Seconds of a denoising batch", **seconds)
        self._groups = Histogram("groups_per_batch", "Groups denoised together", buckets=_GROUPS, **of_model)
        self._jobs = Gauge("jobs", "Jobs that are not forgotten, by status", ["status"], **every)

        self.requests_by_key = Counter(
            "requests_by_key",
            "Requests that make something, by the key's name and the status",
            ["key", "status"],
            **every,
        )
        self.images_by_key = Counter("images_by_key", "Images asked for, by the key's name", ["key"], **every)

    def of(self, model: str) -> OfModel:
        """Those of a model, by its name."""
        return OfModel(
            images=self._images.labels(model),
            in_flight=self._in_flight.labels(model),
            latency=self._latency.labels(model),
            queue=self._queue.labels(model),
            generate=self._generate.labels(model),
            groups=self._groups.labels(model),
            answered=lambda status: self._requests.labels(model, status).inc(),
        )

    def text(self, jobs: Mapping[str, int]) -> bytes:
        """All metrics in Prometheus's text format.

        jobs: how many there are, by status; none where it is not known.
        """
        self._jobs.clear()
        for status, count in jobs.items():
            self._jobs.labels(status).set(count)
        return generate_latest(self._registry)
