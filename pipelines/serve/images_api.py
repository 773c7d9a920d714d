"""The handler of POST /v1/images/generations: one response, or a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from pipelines.dataset.failures import Failure
from pipelines.serve.desk import Keep
from pipelines.serve.errors import ApiError, error_for
from pipelines.serve.events import EventStream, PartialImages, completed, partial, sse
from pipelines.serve.jobs import Event, Job, Preview, Started, Step
from pipelines.serve.limits import Pace, events_in_time
from pipelines.serve.metrics import Metrics, OfModel
from pipelines.serve.requests import error_of, job_of, response_of
from pipelines.serve.response_schema import ImageResponse
from pipelines.serve.schema import ImageRequest
from pipelines.serve.several import Models, Served
from pipelines.serve.traces import traced, tracer_for


class ImagesApi:
    """Answers requests for images with the models' engines.

    models: those that are served.
    """

    def __init__(self, models: Models) -> None:
        self._models, self._tracer = models, tracer_for(models.args.traces)
        self._log_errors = models.args.log_prompts
        self.metrics = Metrics()
        self._paces = {model.name: Pace() for model in models}
        self._metrics = {model.name: self.metrics.of(model.name) for model in models}

    async def create(self, request: ImageRequest, keep: Keep) -> ImageResponse:
        """The response with all images.

        request: the body.
        keep: see `Keep`.

        Raises:
            ApiError: when the images cannot be made.
        """
        async with aclosing(self.events(request, keep)) as events:
            return [event async for event in events if isinstance(event, ImageResponse)][-1]

    async def stream(self, request: ImageRequest, keep: Keep) -> EventStream:
        """The response as server-sent events.

        request, keep: as for `create`.

        Raises:
            ApiError: when the request fails before its first denoising step is done; later errors are events.
        """
        chunks = self._chunks(request, keep)
        return EventStream(await anext(chunks), chunks)

    async def _chunks(self, request: ImageRequest, keep: Keep) -> AsyncGenerator[str, None]:
        begun, kind = False, request.kind_of_events
        try:
            async with aclosing(self.events(request, keep)) as events:
                async for event in events:
                    begun = True
                    if isinstance(event, Step):
                        yield sse(f"{kind}.progress", {"step": event.done, "steps": event.of})
                        continue
                    for chunk in partial(event, kind) if isinstance(event, PartialImages) else completed(event, kind):
                        yield chunk
        except Exception as error:
            if not begun:
                raise
            yield sse("error", error_for(error, self._log_errors).body())

    async def events(
        self, request: ImageRequest, keep: Keep
    ) -> AsyncGenerator[Step | PartialImages | ImageResponse, None]:
        """The denoising steps and what images look like by then, where `request.stream` asks for them, and at last the
        response.

        request, keep: as for `create`.

        Raises:
            ApiError: when the images cannot be made.
        """
        response, model = None, self._models.of(request.model)
        with self._measured(self._metrics[model.name]):
            async with aclosing(self._made(model, request, keep)) as events:
                async for event in events:
                    if isinstance(event, ImageResponse):
                        response = event
                    else:
                        yield event
            if response is None:
                message = "the worker ended without an answer; send it again"
                raise ApiError(503, message, code="worker_lost", retry_after_s=1)
        yield response

    async def _made(
        self, model: Served, request: ImageRequest, keep: Keep
    ) -> AsyncGenerator[Step | PartialImages | ImageResponse, None]:
        job, seed = job_of(request, model.args, model.serving)
        metrics = self._metrics[model.name]
        began, queue_s, previews = time.monotonic(), 0.0, 0
        async with aclosing(self._in_time(model, job)) as events:
            async for event in events:
                if isinstance(event, Failure):
                    raise error_of(event)
                if isinstance(event, Started):
                    queue_s = time.monotonic() - began
                    metrics.queue.observe(queue_s)
                elif isinstance(event, Step):
                    yield event
                elif isinstance(event, Preview):
                    yield PartialImages(job=job, number=previews, images=event.images)
                    previews += 1
                else:
                    metrics.images.inc(len(event.images))
                    metrics.generate.observe(event.generate_s)
                    metrics.groups.observe(event.groups_in_batch)
                    urls = [await keep(data, job.ending) for data in event.images] if request.by_url else None
                    yield response_of(job, seed, event, urls=urls, queue_s=queue_s, serving=model.serving)

    def _in_time(self, model: Served, job: Job) -> AsyncGenerator[Event, None]:
        limits = {"queue_s": model.args.queue_timeout_s, "total_s": model.args.timeout_s}
        events = events_in_time(model.engine, job, pace=self._paces[model.name], **limits)
        return traced(self._tracer, model.name, job, events)

    @contextmanager
    def _measured(self, metrics: OfModel) -> Iterator[None]:
        began, status = time.monotonic(), "500"
        metrics.in_flight.inc()
        try:
            yield
            status = "200"
            metrics.latency.observe(time.monotonic() - began)
        except ApiError as error:
            status = str(error.status_code)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = "cancelled"
            raise
        finally:
            metrics.in_flight.dec()
            metrics.answered(status)
