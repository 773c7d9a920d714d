"""Keeps files that are fetched by name for a while. Their names cannot be guessed, and say when they were made."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable

from pipelines.serve.folders import Folder

_ROOM = "files"
_NAME = re.compile(r"([0-9a-f]{12})[A-Za-z0-9_-]{32}\.[a-z0-9]+")


def media_type(name: str) -> str:
    """The media type of a file of images or of a video, by its name."""
    ending = name.rpartition(".")[2]
    return f"{'video' if ending == 'mp4' else 'image'}/{ending}"


class Shelf:
    """Files with a lifetime; where they are too many bytes together, the oldest are removed first.

    folder: where they lie.
    max_bytes: most bytes of all files.
    seconds: how long a file is kept.
    clock: gives the time in seconds since 1970.
    """

    def __init__(
        self, folder: Folder, *, max_bytes: int, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._max_bytes, self._seconds, self._clock = folder, max_bytes, seconds, clock
        self._sizes: dict[str, int] = {}

    async def open(self) -> None:
        """Count what an earlier process has left in the folder."""
        found = await asyncio.to_thread(self._folder.sizes, _ROOM)
        self._sizes |= {name: size for name, size in found.items() if _NAME.fullmatch(name)}

    async def add(self, data: bytes, ending: str) -> str:
        """Keep a file, and return its name.

        data: its content.
        ending: of the name, without the dot.
        """
        name = f"{int(self._clock() * 1000):012x}{secrets.token_urlsafe(24)}.{ending}"
        await asyncio.to_thread(self._folder.write_bytes, f"{_ROOM}/{name}", data)
        self._sizes[name] = len(data)
        await self.drop()
        return name

    async def get(self, name: str) -> bytes | None:
        """The content of a file; None where it is unknown or removed."""
        if not _NAME.fullmatch(name) or self._is_old(name):
            return None
        try:
            return await asyncio.to_thread(self._folder.read_bytes, f"{_ROOM}/{name}")
        except FileNotFoundError:
            return None

    async def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self._sizes.pop(name, None) is not None:
            await asyncio.to_thread(self._folder.remove, f"{_ROOM}/{name}")

    async def drop(self) -> None:
        """Remove what is too old or too much."""
        total = sum(self._sizes.values())
        for name in sorted(self._sizes):  # names begin with their time
            if total <= self._max_bytes and not self._is_old(name):
                return
            total -= self._sizes[name]
            await self.remove(name)

    def _is_old(self, name: str) -> bool:
        return int(name[:12], 16) / 1000 + self._seconds <= self._clock()
