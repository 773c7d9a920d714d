"""Whether the endpoint takes requests still. Before it ends, those that are inside are answered, and others told so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.serve.errors import ApiError

_RETRY_SECONDS = 10
"""After which another process may answer, where something starts one."""


class Door:
    """Counts the requests that make something, and can be closed to them."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed, self._empty = asyncio.Event(), asyncio.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The block answers a request.

        Raises:
            ApiError: when the door is closed.
        """
        if self._closed.is_set():
            raise ApiError(
                503, "the endpoint is about to end; send it again", code="shutting_down", retry_after_s=_RETRY_SECONDS
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if self._closed.is_set() and not self._inside:
                self._empty.set()

    async def close(self, seconds: float) -> int:
        """Let nobody in any more, wait until all are answered, and return how many are not.

        seconds: how long to wait.
        """
        self._closed.set()
        if self._inside:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        return self._inside
