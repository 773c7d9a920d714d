"""Lines of text, which several formats share."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.errors import UserError

_CHUNK_BYTES = 1 << 18
_LONGEST_LINE = 1 << 25
_MARK = "\ufeff"


def texts_of(file: BinaryIO) -> Iterator[str]:
    """The text of an open file in UTF-8, in pieces. Bytes that are not UTF-8 are lone surrogates. The file stays open.

    file: at its beginning.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    ended = False
    while not ended:
        data = file.read(_CHUNK_BYTES)
        ended = not data
        if text := decoder.decode(data, ended):
            yield text


def blocks_of(file: BinaryIO, uri: str) -> Iterator[list[str]]:
    """The lines of an open file with their ends, LF, CRLF or CR, in blocks: str.splitlines would split at others too.

    A byte order mark at the beginning of a line is left out: it is where files were joined.

    file: as for `texts_of`.
    uri: its name, for messages.

    Raises:
        UserError: when a line has more characters than any prompt file has in one: a compressed file of a few bytes may
            have gigabytes.
    """
    rest, waiting, size = "", [], 0
    for piece in texts_of(file):
        waiting.append(piece)
        size += len(piece)
        if size < len(rest):
            continue  # a long line is not split again with every piece
        text = rest + "".join(waiting)
        *whole, rest = io.StringIO(text, newline="").readlines()
        waiting.clear()
        size = 0
        if len(rest) > _LONGEST_LINE:
            raise UserError(
                f"{uri} has a line of more than {_LONGEST_LINE:,} characters, so it is no file of prompts, or one "
                "whose lines have no ends"
            )
        if whole:
            yield _unmarked(whole, text)
    if last := rest + "".join(waiting):
        yield _unmarked(io.StringIO(last, newline="").readlines(), last)


def lines_of(file: BinaryIO, uri: str) -> Iterator[str]:
    """The lines of an open file without their ends; arguments as for `blocks_of`."""
    for block in blocks_of(file, uri):
        for line in block:
            yield line.rstrip("\r\n")


def _unmarked(lines: list[str], text: str) -> list[str]:
    return [line.lstrip(_MARK) for line in lines] if _MARK in text else lines
