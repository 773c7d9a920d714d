"""The handler of POST /v1/images/generations: one response, or a stream of events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipelines.dataset.failures import Failure
from pipelines.serve.desk import Keep
from pipelines.serve.errors import ApiError, error_for
from pipelines.serve.jobs import Engine, Event, Job, Started, Step
from pipelines.serve.limits import Pace, events_in_time
from pipelines.serve.metrics import Metrics
from pipelines.serve.requests import error_of, job_of, response_of
from pipelines.serve.schema import ImageRequest, ImageResponse
from pipelines.serve.settings import ServeArgs, Serving

_SHARED = ("output_format", "size", "background", "quality", "usage")
"""Fields of a response that are also in the event of each of its images."""


class ImagesApi:
    """Answers requests for images with an engine.

    args: the settings.
    serving: the model and its defaults.
    engine: makes groups.
    """

    def __init__(self, args: ServeArgs, serving: Serving, engine: Engine) -> None:
        self._args, self._serving, self._engine = args, serving, engine
        self._pace = Pace()
        self.metrics = Metrics()

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
        begun = False
        try:
            async with aclosing(self.events(request, keep)) as events:
                async for event in events:
                    begun = True
                    if isinstance(event, Step):
                        yield _sse("image_generation.progress", {"step": event.done, "steps": event.of})
                    else:
                        for chunk in _images(event):
                            yield chunk
        except Exception as error:
            if not begun:
                raise
            yield _sse("error", error_for(error, self._args.log_prompts).body())

    async def events(self, request: ImageRequest, keep: Keep) -> AsyncGenerator[Step | ImageResponse, None]:
        """The denoising steps, where `request.stream` asks for them, and at last the response.

        request, keep: as for `create`.

        Raises:
            ApiError: when the images cannot be made.
        """
        response = None
        with self._measured():
            async with aclosing(self._made(request, keep)) as events:
                async for event in events:
                    if isinstance(event, Step):
                        yield event
                    else:
                        response = event
            if response is None:
                message = "the worker ended without an answer; send it again"
                raise ApiError(503, message, code="worker_lost", retry_after_s=1)
        yield response

    async def _made(self, request: ImageRequest, keep: Keep) -> AsyncGenerator[Step | ImageResponse, None]:
        job, seed = job_of(request, self._args, self._serving)
        began, queue_s = time.monotonic(), 0.0
        async with aclosing(self._in_time(job)) as events:
            async for event in events:
                if isinstance(event, Failure):
                    raise error_of(event)
                if isinstance(event, Started):
                    queue_s = time.monotonic() - began
                    self.metrics.queue.observe(queue_s)
                elif isinstance(event, Step):
                    yield event
                else:
                    self.metrics.images.inc(len(event.images))
                    self.metrics.generate.observe(event.generate_s)
                    self.metrics.groups.observe(event.groups_in_batch)
                    by_url = request.response_format == "url"
                    urls = [await keep(data, job.image_format) for data in event.images] if by_url else None
                    yield response_of(job, seed, event, urls=urls, queue_s=queue_s, serving=self._serving)

    def _in_time(self, job: Job) -> AsyncGenerator[Event, None]:
        limits = {"queue_s": self._args.queue_timeout_s, "total_s": self._args.timeout_s}
        return events_in_time(self._engine, job, pace=self._pace, **limits)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        began, status = time.monotonic(), "500"
        self.metrics.in_flight.inc()
        try:
            yield
            status = "200"
            self.metrics.latency.observe(time.monotonic() - began)
        except ApiError as error:
            status = str(error.status_code)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = "cancelled"
            raise
        finally:
            self.metrics.in_flight.dec()
            self.metrics.requests.labels(status).inc()


class EventStream(StreamingResponse):
    """A response that streams chunks; when the caller disconnects, the source is closed at once.

    first: the first chunk.
    rest: gives the others.
    """

    def __init__(self, first: str, rest: AsyncGenerator[str, None]) -> None:
        super().__init__(_joined(first, rest), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def _joined(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    yield first
    async for chunk in rest:
        yield chunk


def _images(response: ImageResponse) -> Iterator[str]:
    """An event of OpenAI's form per image, with the fields of `Image` and its index, and an event with the group's
    settings."""
    shared = {"created_at": response.created, **response.model_dump(include=set(_SHARED))}
    for index, image in enumerate(response.data):
        yield _sse("image_generation.completed", {**image.model_dump(), **shared, "index": index})
    yield _sse("image_generation.group", response.group.model_dump())


def _sse(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n"
