"""JSON: one array of objects, whose keys are columns, or of texts, which are prompts. It is not read as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts.formats import jsonl, objects
from pipelines.prompts.formats.base import Format, Row, unreadable
from pipelines.prompts.formats.lines import texts_of
from pipelines.prompts.formats.objects import Decoder, Record
from pipelines.prompts.wanted import Wanted

_LONGEST_ELEMENT = 1 << 25
_REST_OF_A_NUMBER = re.compile(r"[-+.eE0-9]*\Z")
"""What may be there of a number up to the end of a text that goes on."""
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`. Where it begins with an object it is JSON lines by another name."""
    if _Scanner(file, uri).peek() == "{":
        file.seek(0)
        yield from jsonl.read(file, uri, wanted)
        return

    name = wanted.columns.name_of("prompt")

    def records() -> Iterator[Record]:
        file.seek(0)
        for number, value in enumerate(elements(file, uri), start=1):
            yield number, _record(value, name)

    yield from objects.rows(records, uri, wanted)


def _record(value: Any, prompt: str) -> dict[str, Any] | Failure:
    if isinstance(value, str):
        return {prompt: value}
    return value if isinstance(value, dict | Failure) else unreadable("it is neither an object nor text")


def elements(file: BinaryIO, uri: str) -> Iterator[Any]:
    """The elements of the array in a file, as `Decoder.decode` gives them; arguments as for `Format.read`.

    Raises:
        UserError: when it is no array.
    """
    scanner = _Scanner(file, uri)
    scanner.take("[", "an array of objects or of texts is needed")
    if scanner.peek() != "]":
        yield scanner.value()
        while scanner.peek() == ",":
            scanner.take(",", "")
            yield scanner.value()
    scanner.take("]", "a comma or the end of the array is needed after an element")
    if scanner.peek():
        raise scanner.wrong("there is more after the end of the array")


class _Scanner:
    """Goes through a text of JSON. Of it no more is in memory than a piece of the file and the longest element.

    file, uri: see `Format.read`.
    """

    def __init__(self, file: BinaryIO, uri: str) -> None:
        self._uri = uri
        self._pieces = texts_of(file)
        self._text, self._at, self._line = "", 0, 1
        self._decoder = Decoder()

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, character: str, rule: str) -> None:
        """Go past a character. rule: what is said where another is there."""
        if self.peek() != character:
            raise self.wrong(rule)
        self._at += 1

    def value(self) -> Any:
        """Go past a value, and give it as `Decoder.decode` does."""
        self.peek()
        while True:
            problem = value = None
            try:
                value, end = self._decoder.decode_at(self._text, self._at)
            except RecursionError:
                raise self.wrong("it is nested too deeply") from None
            except ValueError as error:
                problem, end = str(getattr(error, "msg", error)), self._at
            cut = problem is not None or (isinstance(value, int | float) and _REST_OF_A_NUMBER.match(self._text, end))
            if cut and len(self._text) - self._at <= _LONGEST_ELEMENT and self._more():
                continue
            if problem is not None:
                raise self.wrong(problem)
            self._at = end
            return value

    def wrong(self, problem: str) -> UserError:
        """The error that this is no JSON, or none that is read. problem: in what."""
        line = self._line + self._text.count("\n", 0, self._at)
        return UserError(f"{self._uri}:{line}: it is no JSON array of prompts: {problem}")

    def _more(self) -> bool:
        """Read about as much again as is in memory, and forget what was gone through."""
        rest = self._text[self._at :]
        pieces = [rest]
        size = 0
        while size <= len(rest) and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            size += len(piece)
        if size:
            self._line += self._text.count("\n", 0, self._at)
            self._text, self._at = "".join(pieces), 0
        return size > 0


FORMAT = Format(name="json", endings=(".json",), read=read)
