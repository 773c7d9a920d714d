"""The handler of POST /v1/images/generations: one response, or a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from pipelines.dataset.failures import Failure
from pipelines.serve.errors import ApiError, error_for
from pipelines.serve.events import EventStream, PartialImages, completed, partial, sse
from pipelines.serve.files import Files
from pipelines.serve.jobs import Engine, Event, Job, Preview, Started, Step
from pipelines.serve.limits import Pace, events_in_time
from pipelines.serve.metrics import Metrics
from pipelines.serve.requests import error_of, job_of, response_of
from pipelines.serve.schema import ImageRequest, ImageResponse
from pipelines.serve.settings import ServeArgs, Serving

UrlOf = Callable[[str], str]
"""Name of a kept file -> its URL for this caller."""


class ImagesApi:
    """Answers requests for images with an engine.

    args: the settings.
    serving: the model and its defaults.
    engine: makes groups.
    """

    def __init__(self, args: ServeArgs, serving: Serving, engine: Engine) -> None:
        self._args, self._serving, self._engine = args, serving, engine
        self._pace = Pace()
        self.files = Files(args.url_cache_mb << 20, args.url_minutes * 60)
        self.metrics = Metrics()

    async def create(self, request: ImageRequest, url_of: UrlOf) -> ImageResponse:
        """The response with all images.

        request: the body.
        url_of: see `UrlOf`.

        Raises:
            ApiError: when the images cannot be made.
        """
        with self._measured():
            async with aclosing(self._events(request, url_of)) as events:
                return [event async for event in events if isinstance(event, ImageResponse)][-1]

    async def stream(self, request: ImageRequest, url_of: UrlOf) -> EventStream:
        """The response as server-sent events.

        request, url_of: as for `create`.

        Raises:
            ApiError: when the request fails before its first denoising step is done; later errors are events.
        """
        chunks = self._chunks(request, url_of)
        return EventStream(await anext(chunks), chunks)

    async def _chunks(self, request: ImageRequest, url_of: UrlOf) -> AsyncGenerator[str, None]:
        begun = False
        try:
            with self._measured():
                async with aclosing(self._events(request, url_of)) as events:
                    async for event in events:
                        begun = True
                        if isinstance(event, Step):
                            yield sse("image_generation.progress", {"step": event.done, "steps": event.of})
                            continue
                        for chunk in partial(event) if isinstance(event, PartialImages) else completed(event):
                            yield chunk
        except Exception as error:
            if not begun:
                raise
            yield sse("error", error_for(error, self._args.log_prompts).body())

    async def _events(
        self, request: ImageRequest, url_of: UrlOf
    ) -> AsyncGenerator[Step | PartialImages | ImageResponse, None]:
        job, seed = job_of(request, self._args, self._serving)
        began, queue_s, previews = time.monotonic(), 0.0, 0
        async with aclosing(self._in_time(job)) as events:
            async for event in events:
                if isinstance(event, Failure):
                    raise error_of(event)
                if isinstance(event, Started):
                    queue_s = time.monotonic() - began
                    self.metrics.queue.observe(queue_s)
                elif isinstance(event, Step):
                    yield event
                elif isinstance(event, Preview):
                    yield PartialImages(job=job, number=previews, images=event.images)
                    previews += 1
                else:
                    self.metrics.images.inc(len(event.images))
                    self.metrics.generate.observe(event.generate_s)
                    self.metrics.groups.observe(event.groups_in_batch)
                    yield response_of(
                        request,
                        job,
                        seed,
                        event,
                        queue_s=queue_s,
                        serving=self._serving,
                        keep=lambda data, ending: url_of(self.files.add(data, ending)),
                    )
                    return
        raise ApiError(503, "the worker ended without an answer; send it again", code="worker_lost", retry_after_s=1)

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
