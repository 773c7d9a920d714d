"""Time limits of requests, and the Retry-After of refused ones."""

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
    """A running mean of the time that a group takes, for the Retry-After of refused requests."""

    def __init__(self) -> None:
        self._seconds = 1.0

    def add(self, seconds: float) -> None:
        """Take the time of one more group into the mean."""
        self._seconds += _WEIGHT * (seconds - self._seconds)

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, 1 to 60, after which a refused request may succeed."""
        return max(1, min(_LONGEST_RETRY, math.ceil(self._seconds)))


async def events_in_time(
    engine: Engine, job: Job, *, queue_s: float, total_s: float, pace: Pace
) -> AsyncGenerator[Event, None]:
    """The events of a job within its time limits. Closing the iterator stops the work.

    engine: makes the group.
    job: the group.
    queue_s: most seconds until it starts.
    total_s: most seconds until it is done.
    pace: takes the time of the group.

    Raises:
        ApiError: when the queue is full, a time limit is exceeded, or the worker dies.
    """
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
                pace.add(loop.time() - started)
            yield event


def _busy(message: str, pace: Pace) -> ApiError:
    return ApiError(429, message, code="overloaded", retry_after_s=pace.retry_after_s)
