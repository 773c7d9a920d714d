"""The time that a request has, and how long one should wait that was refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import Done, Engine, Event, Job, Lost, Overloaded, Started

_WEIGHT = 0.2
_LONGEST_RETRY = 60


class Pace:
    """How long a group takes here, as a running mean; it becomes the Retry-After of refusals."""

    def __init__(self) -> None:
        self._seconds = 1.0

    def note(self, seconds: float) -> None:
        self._seconds += _WEIGHT * (seconds - self._seconds)

    @property
    def retry_after_s(self) -> int:
        return max(1, min(_LONGEST_RETRY, math.ceil(self._seconds)))


async def events_in_time(
    engine: Engine, job: Job, *, queue_s: float, total_s: float, pace: Pace
) -> AsyncGenerator[Event, None]:
    """The engine's events, with an ApiError where the job is refused, too late or lost. Closing it stops the work."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    started = None
    async with aclosing(engine.generate(job)) as events:
        while True:
            try:
                async with asyncio.timeout_at(began + (min(queue_s, total_s) if started is None else total_s)):
                    event = await anext(events, None)
            except TimeoutError:
                if started is None:
                    raise _busy(f"no worker was free within {min(queue_s, total_s):g} s", pace) from None
                raise ApiError(504, f"not done within {total_s:g} s; stopped", code="timeout") from None
            except Overloaded:
                raise _busy("too many requests wait already", pace) from None
            except Lost:
                raise ApiError(
                    503, "the worker with this request was lost; send it again", code="worker_lost", retry_after_s=1
                ) from None
            if event is None:
                break
            if isinstance(event, Started) and started is None:
                started = loop.time()
            elif isinstance(event, Done) and started is not None:
                pace.note(loop.time() - started)
            yield event


def _busy(message: str, pace: Pace) -> ApiError:
    return ApiError(429, message, code="overloaded", retry_after_s=pace.retry_after_s)
