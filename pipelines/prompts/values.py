"""Checks single values of prompt rows: texts in their normal form, labels, and what is no value at all."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from pipelines.dataset.failures import Failure
from pipelines.prompts.formats.base import INSIDE
from pipelines.prompts.text import SURROGATE, Normal, is_plain, normal


class Unusable(Exception):
    """Ends the check of a row.

    error_type, error: as in `Failure`.
    """

    def __init__(self, error_type: str, error: str) -> None:
        super().__init__(error)
        self.failure = Failure(error_type=error_type, error=error)


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_INVISIBLE = {"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"}
"""Categories of characters that show nothing by themselves."""
_FILLERS = set("\u115f\u1160\u2800\u3164\uffa0")
"""Characters of other categories that show nothing either."""


def clean_text(value: Any, name: str, max_characters: int | None = None) -> tuple[str | None, tuple[str, ...]]:
    """The normal form of a text, None where it is missing or nothing of it can be seen, and what that has changed.

    value: unchecked.
    name: of the value, for messages.
    max_characters: most that it may have; None for any number.

    Raises:
        Unusable: when it is no text, or one that cannot be drawn.
    """
    if not isinstance(value, str):
        if missing(value):
            return None, ()
        if isinstance(value, Failure):
            raise Unusable(value.error_type, value.error)
        hint = f"; {INSIDE}" if isinstance(value, list | dict) else ""
        raise Unusable("NotText", f"the {name} is {type(value).__name__}, not text{hint}")
    text, changes = (value, ()) if is_plain(value) else _checked(value, name)
    if max_characters is not None and len(text) > max_characters:
        many = f"the {name} has {len(text)} characters; prompts.max_characters allows {max_characters}"
        raise Unusable("TooLong", many)
    return text or None, changes


def _checked(text: str, name: str) -> Normal:
    """The normal form of any text; "" where nothing of it can be seen."""
    if not text.isprintable():
        if SURROGATE.search(text):
            raise Unusable("UndecodableText", f"the {name} has bytes that are no text in the encoding of its file")
        if _CONTROL.search(text.strip()):
            raise Unusable("ControlCharacter", f"the {name} has control characters, such as NUL")
    found = normal(text)
    return found if found.text.isascii() or any(map(_visible, found.text)) else Normal("", ())


def missing(value: Any) -> bool:
    """Whether there is no value; pandas and others write a number that is none where a table has nothing."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE and character not in _FILLERS


def label(value: Any, name: str, max_characters: int | None = None) -> str | None:
    """A further value of the row as text; JSON and Parquet files may have numbers as ids. Arguments and errors as of
    `clean_text`."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and not missing(value)
    text, _ = clean_text(str(value) if number else value, name, max_characters)
    return text


def printable(text: str) -> str:
    """`text` as valid UTF-8 without NUL, for an error message; other characters become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
