"""Prompt files that are compressed as a whole. They are unpacked as they are read, whatever they unpack to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.prompts.stream import CHUNK_BYTES, as_file

CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of a compressed file -> the name of its compression, as pyarrow has it."""
ENDINGS = (".gz", ".gzip", ".zst", ".zstd")
"""Endings of compressed files, after that of their format. What is unpacked is decided by the first bytes alone."""

_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x04\x22\x4d\x18": "lz4",
}
_BZIP2 = re.compile(rb"BZh[1-9]\x31\x41\x59\x26\x53\x59")
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_LONGEST_MAGIC = 10


def compression(file: BinaryIO, uri: str) -> str | None:
    """The compression of a file; None where it has none.

    file: open at its beginning, where it is left.
    uri: its name, for messages.

    Raises:
        UserError: when it is compressed in a way that is not read.
    """
    start = file.read(_LONGEST_MAGIC)
    file.seek(0)
    for magic, codec in CODECS.items():
        if start.startswith(magic):
            return codec
    if _ZSTD_SKIPPABLE.match(start):
        return "zstd"
    for magic, name in _OTHERS.items():
        if start.startswith(magic) and (magic != b"BZh" or _BZIP2.match(start)):
            raise UserError(f"{uri} is {name}, which is not read: unpack it, or compress it with gzip or zstd")
    return None


def unpacked(file: BinaryIO, uri: str) -> BinaryIO:
    """The content of a file that may be compressed, as a file that can be read from its beginning again.

    file: open at its beginning; it stays open.
    uri: its name, for messages.

    Raises:
        UserError: when it is compressed in a way that is not read; in reading, when it is damaged or cut short.
    """
    codec = compression(file, uri)
    return file if codec is None else as_file(lambda: _unpack(file, uri, codec))


def _unpack(file: BinaryIO, uri: str, codec: str) -> Iterator[bytes]:
    file.seek(0)
    count = 0
    try:
        packed = pa.CompressedInputStream(pa.PythonFile(_Borrowed(file), mode="r"), codec)  # type: ignore[arg-type]
        while chunk := packed.read(CHUNK_BYTES):
            count += len(chunk)
            yield chunk
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{uri} is not readable as {codec}, after {count:,} bytes of its content: {error}. It is damaged, or was "
            "cut short: copy it anew"
        ) from error


class _Borrowed:
    """A file that its reader does not close."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read

    def close(self) -> None:
        pass
