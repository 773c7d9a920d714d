"""Continuous packing: groups that can share a denoising batch do, and nobody waits for a younger incompatible group."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Waiting(Generic[T]):
    """Something in the queue. key: equal ones can be packed together; pixels: its share of a pack's room."""

    item: T
    key: Hashable
    pixels: int
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What fits into a pack (one item always does), and how long the oldest item waits for company."""

    items: int
    pixels: int
    wait_s: float


class PackQueue(Generic[T]):
    """Thread-safe. The next pack always begins with the oldest item, joined by items with its key, oldest first."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: list[Waiting[T]] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, waiting: Waiting[T]) -> None:
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def discard(self, waiting: Waiting[T]) -> bool:
        """Take an item out again; False if it is in a pack already."""
        with self._changed:
            if waiting not in self._waiting:
                return False
            self._waiting.remove(waiting)
            self._changed.notify()
            return True

    def take(self) -> list[Waiting[T]]:
        """Wait for the next pack; empty once the queue is closed."""
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
            if pack and waiting.key != pack[0].key:
                continue
            if pack and pixels + waiting.pixels > self._room.pixels:
                return pack, True
            pack.append(waiting)
            pixels += waiting.pixels
            if len(pack) == self._room.items:
                return pack, True
        return pack, False
