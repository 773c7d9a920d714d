"""Server-sent events: of OpenAI's form where it has one."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipelines.serve.jobs import Job
from pipelines.serve.response_schema import ImageFacts, ImageResponse

_SHARED = ("output_format", "size", "background", "quality", "usage")
"""Fields of a response that are also in the event of each of its images."""


@dataclass(frozen=True, kw_only=True)
class PartialImages:
    """What the images of a group look like while they are made."""

    job: Job
    """The group."""
    number: int
    """From 0, of these among others of the group."""
    images: tuple[bytes, ...]
    """A small image file each."""


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


def partial(of: PartialImages, kind: str) -> Iterator[str]:
    """An event of OpenAI's form per image, with its index.

    kind: what the names of the events begin with.
    """
    sampling = of.job.group.sampling
    facts = ImageFacts(output_format=of.job.image_format, size=f"{sampling.width}x{sampling.height}")
    shared = {"created_at": int(time.time()), **facts.model_dump(), "partial_image_index": of.number}
    for index, image in enumerate(of.images):
        picture = {"b64_json": base64.b64encode(image).decode()}
        yield sse(f"{kind}.partial_image", {**picture, **shared, "index": index})


def completed(response: ImageResponse, kind: str) -> Iterator[str]:
    """An event of OpenAI's form per image, with the fields of `Image` and its index, and an event with the group's
    settings.

    kind: as for `partial`.
    """
    shared = {"created_at": response.created, **response.model_dump(include=set(_SHARED))}
    for index, image in enumerate(response.data):
        yield sse(f"{kind}.completed", {**image.model_dump(), **shared, "index": index})
    yield sse(f"{kind}.group", response.group.model_dump())


def sse(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n"
