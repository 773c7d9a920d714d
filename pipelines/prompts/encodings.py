"""The encodings of prompt files: whatever a text is in, formats read UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.prompts.stream import CHUNK_BYTES, as_file

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
    return file if name == "utf-8" else as_file(lambda: _recode(file, name))


def _first(file: BinaryIO, count: int) -> bytes:
    start = b""
    while len(start) < count and (more := file.read(count - len(start))):
        start += more
    file.seek(0)
    return start


def _recode(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
    ended = False
    while not ended:
        data = file.read(CHUNK_BYTES)
        ended = not data
        if text := decoder.decode(data, ended):
            yield text.encode("utf-8", "surrogateescape")
