"""What lies between a prompt file and its format: compression and encoding. Both stream, whatever they unpack to."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

from pipelines.errors import UserError

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
_CHUNK_BYTES = 1 << 18

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNDECODABLE = "raydiance.undecodable"


def _lone_surrogate(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udc80", error.end


codecs.register_error(_UNDECODABLE, _lone_surrogate)  # surrogateescape knows single bytes only

_NO_ENCODINGS_OF_FILES = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}


def is_encoding(name: str) -> bool:
    """Whether files may be in the encoding of a name, such as "latin-1"."""
    try:
        found = codecs.lookup(name)
        found.incrementaldecoder().decode(b"")
    except (LookupError, ValueError, TypeError, UnicodeError):
        return False
    is_text: bool = found._is_text_encoding
    return is_text and found.name.replace("-", "_") not in _NO_ENCODINGS_OF_FILES


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
    return file if codec is None else _as_file(lambda: _unpack(file, uri, codec))


def as_utf8(file: BinaryIO, encoding: str | None) -> BinaryIO:
    """The text of a file in UTF-8, where it is in another encoding. Bytes that are no text become some that no UTF-8
    text has, so that only their row is bad.

    file: open at its beginning; it stays open.
    encoding: its name; None for UTF-8. A byte order mark says more.

    Raises:
        UnicodeError: when the file is no text.
    """
    start = _first(file, 4)
    encoding = next((of for mark, of in _MARKS.items() if start.startswith(mark)), encoding)
    if encoding is None and 0 in start:
        raise UnicodeError(
            f"it begins with the bytes {start!r}, which no UTF-8 text has. If it is UTF-16 without a byte order mark, "
            "set prompts.encoding to 'utf-16-le' or 'utf-16-be', or save it as UTF-8"
        )
    name = codecs.lookup(encoding or "utf-8").name
    return file if name == "utf-8" else _as_file(lambda: _recode(file, name))


def _first(file: BinaryIO, count: int) -> bytes:
    start = b""
    while len(start) < count and (more := file.read(count - len(start))):
        start += more
    file.seek(0)
    return start


def _unpack(file: BinaryIO, uri: str, codec: str) -> Iterator[bytes]:
    file.seek(0)
    count = 0
    try:
        packed = pa.CompressedInputStream(pa.PythonFile(_Borrowed(file), mode="r"), codec)  # type: ignore[arg-type]
        while chunk := packed.read(_CHUNK_BYTES):
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


def _recode(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
    ended = False
    while not ended:
        data = file.read(_CHUNK_BYTES)
        ended = not data
        if text := decoder.decode(data, ended):
            yield text.encode("utf-8", "surrogateescape")


def _as_file(begin: Callable[[], Iterator[bytes]]) -> BinaryIO:
    return cast(BinaryIO, _Stream(begin))


class _Stream(io.RawIOBase):
    """Chunks of bytes as a file. begin: gives all of them from the first; none is empty."""

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
