"""Chunks of bytes as a file: what compression and encodings give, streamed, however much it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

CHUNK_BYTES = 1 << 18
"""Bytes that are unpacked or decoded at a time."""


def as_file(begin: Callable[[], Iterator[bytes]]) -> BinaryIO:
    """A file that can be read forwards, and from its beginning again.

    begin: gives all chunks from the first; none is empty.
    """
    return cast(BinaryIO, _Stream(begin))


class _Stream(io.RawIOBase):
    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        self._begin = begin
        self._chunks = begin()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only to the beginning")
        self._chunks, self._rest = self._begin(), memoryview(b"")
        return 0
