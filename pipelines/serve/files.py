"""Keeps images that are returned as URLs in memory for a while. Their names cannot be guessed."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable


class Files:
    """Files in memory; the oldest are removed first.

    max_bytes: most bytes of all files.
    seconds: how long a file is kept.
    clock: gives the time in seconds.
    """

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def add(self, data: bytes, ending: str) -> str:
        """Keep a file, and return its name.

        data: its content.
        ending: of the name.
        """
        name = f"{secrets.token_urlsafe(24)}.{ending}"
        self._held[name] = (self._clock() + self._seconds, data)
        self._bytes += len(data)
        self._drop()
        return name

    def get(self, name: str) -> bytes | None:
        """The content of a file; None where it is unknown or removed."""
        self._drop()
        held = self._held.get(name)
        return None if held is None else held[1]

    def _drop(self) -> None:
        now = self._clock()
        while self._held and (self._bytes > self._max_bytes or next(iter(self._held.values()))[0] <= now):
            _, (_, data) = self._held.popitem(last=False)
            self._bytes -= len(data)
