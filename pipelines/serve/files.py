"""Images whose URL was asked for, kept in memory for a while. Their names cannot be guessed."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable


class Files:
    """At most `max_bytes`, each for `seconds`; the oldest go first."""

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def add(self, data: bytes, ending: str) -> str:
        """Keep a file; returns its name."""
        name = f"{secrets.token_urlsafe(24)}.{ending}"
        self._held[name] = (self._clock() + self._seconds, data)
        self._bytes += len(data)
        self._drop()
        return name

    def get(self, name: str) -> bytes | None:
        self._drop()
        held = self._held.get(name)
        return None if held is None else held[1]

    def _drop(self) -> None:
        now = self._clock()
        while self._held and (self._bytes > self._max_bytes or next(iter(self._held.values()))[0] <= now):
            _, (_, data) = self._held.popitem(last=False)
            self._bytes -= len(data)
