"""OpenTelemetry traces of groups, as an option: a span from request to images, and in it queue, batch and score."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.serve.jobs import Done, Event, Job, Started

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_PACKAGE = "opentelemetry-exporter-otlp-proto-http"


def check(collector: str) -> None:
    """Check that traces can be sent.

    collector: as `ServeArgs.traces`.

    Raises:
        UserError: when a package is missing.
    """
    if collector and not _is_there():
        raise UserError(f"traces = {collector!r} needs a package that is not installed: pip install {_PACKAGE}")


def _is_there() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False


def tracer_for(collector: str) -> Tracer | None:
    """What makes the spans of this process; None for no traces.

    collector: as `ServeArgs.traces`.
    """
    if not collector:
        return None
    from importlib import import_module

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "raydiance"}))
    provider.add_span_processor(BatchSpanProcessor(import_module(_EXPORTER).OTLPSpanExporter(endpoint=collector)))
    return provider.get_tracer("raydiance")


async def traced(
    tracer: Tracer | None, model: str, job: Job, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[Event, None]:
    """The same events; when they end, the spans of the group are made.

    tracer: as of `tracer_for`.
    model: name of the model.
    job: the group; nothing of its texts stands in a span.
    events: of the group.
    """
    began, started, last = time.time_ns(), None, None
    error: BaseException | None = None
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Started) and started is None:
                    started = time.time_ns()
                last = event
                yield event
    except BaseException as raised:
        error = raised
        raise
    finally:
        if tracer is not None:
            failed = last.error_type if isinstance(last, Failure) else type(error).__name__ if error else ""
            _spans(tracer, _about(model, job, failed), began, started, last if isinstance(last, Done) else None)


def _about(model: str, job: Job, failed: str) -> dict[str, Any]:
    sampling = job.group.sampling
    size = f"{sampling.width}x{sampling.height}"
    about = {"model": model, "images": len(job.group.seeds), "steps": sampling.steps, "size": size}
    return about | ({"error.type": failed} if failed else {})


def _spans(tracer: Tracer, about: dict[str, Any], began: int, started: int | None, done: Done | None) -> None:
    """The spans of a group that ends now. Times are in nanoseconds.

    The worker says how long its batch took; what follows until the images are there is scoring and encoding.
    """
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    ended = time.time_ns()
    whole = tracer.start_span("images", start_time=began, attributes=about)
    inside = set_span_in_context(whole)
    tracer.start_span("queue", inside, start_time=began).end(started or ended)
    if started is not None:
        batch_ended = ended if done is None else min(ended, started + int(done.generate_s * 1e9))
        groups = {} if done is None else {"groups": done.groups_in_batch}
        tracer.start_span("batch", inside, start_time=started, attributes=groups).end(batch_ended)
        if done is not None:
            tracer.start_span("score", inside, start_time=batch_ended).end(ended)
    if "error.type" in about:
        whole.set_status(Status(StatusCode.ERROR))
    whole.end(ended)
