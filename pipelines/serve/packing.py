"""A queue that packs groups which can share a denoising batch. No group waits for a later group of another kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Waiting(Generic[T]):
    """An item in the queue."""

    item: T
    """The item."""
    key: Hashable | None
    """Items with equal keys can be packed together; one with None is packed with no other."""
    pixels: int
    """What it takes of `Room.pixels`."""
    since: float = field(default_factory=time.monotonic)
    """Time at which it was made, as of time.monotonic."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """The limits of a pack; a single item always fits."""

    items: int
    """Most items."""
    pixels: int
    """Most pixels of all items."""
    wait_s: float
    """How long the oldest item waits for others, in seconds."""


class PackQueue(Generic[T]):
    """A thread-safe queue. The next pack has the oldest item, and then items with the same key, oldest first.

    room: the limits of a pack.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: list[Waiting[T]] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, waiting: Waiting[T]) -> None:
        """Add an item."""
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def discard(self, waiting: Waiting[T]) -> bool:
        """Remove an item, and return whether it was still in the queue."""
        with self._changed:
            if waiting not in self._waiting:
                return False
            self._waiting.remove(waiting)
            self._changed.notify()
            return True

    def take(self) -> list[Waiting[T]]:
        """Wait for the next pack, and remove it from the queue; empty once the queue is closed."""
        with self._changed:
            while not self._closed:
                pack, full = self._pack()
                left = pack[0].since + self._room.wait_s - time.monotonic() if pack else None
                if left is not None and (full or left <= 0):
                    self._waiting = [waiting for waiting in self._waiting if waiting not in pack]
                    return pack
                self._changed.wait(left)
            return []

    def close(self) -> None:
        """End all waiting calls of `take`."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def __len__(self) -> int:
        return len(self._waiting)

    def _pack(self) -> tuple[list[Waiting[T]], bool]:
        """The pack that would start now, and whether it has no room for more."""
        pack: list[Waiting[T]] = []
        pixels = 0
        for waiting in self._waiting:
            if not pack and waiting.key is None:
                return [waiting], True
            if pack and waiting.key != pack[0].key:
                continue
            if pack and pixels + waiting.pixels > self._room.pixels:
                return pack, True
            pack.append(waiting)
            pixels += waiting.pixels
            if len(pack) == self._room.items:
                return pack, True
        return pack, False
