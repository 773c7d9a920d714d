"""Time limits of requests, and the Retry-After of refused ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import Done, Engine, Event, Job, Lost, Overloaded, Started

_WEIGHT = 0.2
_LONGEST_RETRY = 600


class Pace:
    """How fast groups are made, and how many there are: for the Retry-After of refused requests."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self.waiting = 0
        """Groups that have not begun."""
        self.running = 0
        """Groups that have begun and are not done, in all copies of the model."""

    def begin(self) -> None:
        """One of the groups that wait begins."""
        self.waiting -= 1
        self.running += 1

    def add(self, seconds: float) -> None:
        """Take the time of one more group into the mean."""
        self._seconds = seconds if self._seconds is None else self._seconds + _WEIGHT * (seconds - self._seconds)

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, 1 to 600, in which all groups that wait, the refused one too, begin if as many run as now."""
        turns = math.ceil(self.waiting / max(1, self.running))
        return max(1, min(_LONGEST_RETRY, math.ceil((self._seconds or 1.0) * max(1, turns))))


async def events_in_time(
    engine: Engine, job: Job, *, queue_s: float, total_s: float, pace: Pace
) -> AsyncGenerator[Event, None]:
    """The events of a job within its time limits. Closing the iterator stops the work.

    engine: makes the group.
    job: the group.
    queue_s: most seconds until it starts.
    total_s: most seconds until it is done.
    pace: counts the group, and takes its time.

    Raises:
        ApiError: when the queue is full, a time limit is exceeded, or the worker dies.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    started = None
    pace.waiting += 1
    try:
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
                    pace.begin()
                elif isinstance(event, Done) and started is not None:
                    pace.add(loop.time() - started)
                yield event
    finally:
        if started is None:
            pace.waiting -= 1
        else:
            pace.running -= 1


def _busy(message: str, pace: Pace) -> ApiError:
    return ApiError(429, message, code="overloaded", retry_after_s=pace.retry_after_s)
