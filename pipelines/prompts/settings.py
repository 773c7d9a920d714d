"""The settings that a row has of its own, as far as they can be read without the run: numbers and texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from models.errors import require
from models.words import places
from pipelines.dataset.failures import Failure
from pipelines.prompts.columns import Columns
from pipelines.prompts.values import Unusable, label, missing

Own = tuple[tuple[str, Any], ...]
"""(name, value) of the settings that a row has in place of the run's, by name: fields of `Columns`, without those of
`RowSettings`."""


class RowSettings(NamedTuple):
    """What a row has of its own."""

    own: Own = ()
    """In place of the run's; () for a row that is made as the run says."""
    seed: int | None = None
    """Of its first image."""
    images: int | None = None
    """How many it gets in each arm."""


PLAIN = RowSettings()
"""Of a row that has nothing of its own."""


class Rules(Protocol):
    """What the settings of a run ask of its rows."""

    def settle(self, given: Mapping[str, Any]) -> RowSettings:
        """The settings of a row, checked against those of the run.

        given: field of `Columns` -> value as `OwnSettings` reads it.

        Raises:
            ValueError: when they do not fit; the message names the setting.
        """
        ...

    def words(self, own: Own) -> Iterable[tuple[str, str]]:
        """(setting, words) of each setting that names words which the prompt of a row needs to have.

        own: the row's.
        """
        ...


WHOLE = ("seed", "width", "height", "steps", "frames", "max_sequence_length", "images")
"""Settings that are whole numbers."""

LISTS = ("sigmas",)
"""Those that are lists of numbers."""

OF_WORDS = ("vary_words", "keep_words")
"""Those that name words of the prompt."""

_TEXTS = ("negative_prompt", "aspect_ratio", *OF_WORDS)
_WHOLE_TEXT = re.compile(r"[+-]?\d{1,30}(\.0*)?")
_MOST = 1e30
_EXACT = 1 << 53
"""From here on floating-point numbers leave whole ones out."""


def as_number(name: str, value: Any) -> int | float:
    """A setting that is a number. Files of text have it as text, and tables with gaps have whole numbers as 28.0.

    name: of the setting.
    value: as the file has it.

    Raises:
        ValueError: when the value is none; the message has name and value.
    """
    given = _parsed(value) if isinstance(value, str) else value
    if isinstance(given, bool) or not isinstance(given, int | float):
        given = None
    if name not in WHOLE:
        if given is None or abs(given) > _MOST:
            raise ValueError(f"{name} = {value!r}: must be a number")
        return float(given)
    if isinstance(given, float):
        given = int(given) if given.is_integer() and abs(given) < _EXACT else None
    if given is None:
        raise ValueError(f"{name} = {value!r}: must be a whole number")
    return given


def as_numbers(name: str, value: Any) -> tuple[float, ...]:
    """A setting that is a list of numbers. Files of text have it as text, with commas between them.

    name: of the setting.
    value: as the file has it.

    Raises:
        ValueError: when the value is none; the message has name and value.
    """
    given = value
    if isinstance(value, str):
        inside = value.strip().removeprefix("[").removesuffix("]").strip()
        given = inside.split(",") if inside else []
    if not isinstance(given, list):
        raise ValueError(f"{name} = {value!r}: must be a list of numbers")
    return tuple(float(as_number(name, one)) for one in given)


def _parsed(text: str) -> int | float | None:
    text = text.strip()
    if _WHOLE_TEXT.fullmatch(text):
        return int(text.partition(".")[0])
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def shape_of(aspect_ratio: str) -> float:
    """Width over height.

    aspect_ratio: such as "16:9", or "1.78".

    Raises:
        ValueError: when it is no such text, or beyond 1:32 or 32:1.
    """
    width, colon, height = aspect_ratio.partition(":")
    sides = [_parsed(width), _parsed(height) if colon else 1]
    if any(side is None or side <= 0 for side in sides):
        raise ValueError(f"aspect_ratio = {aspect_ratio!r}: must be two numbers such as '16:9'")
    shape = float(sides[0] or 1) / float(sides[1] or 1)
    require(1 / 32 <= shape <= 32, "aspect_ratio", aspect_ratio, "needs 1:32 to 32:1")
    return shape


class OwnSettings:
    """Reads what rows have of their own.

    columns: the settings of columns.
    rules: of the run.
    max_characters: of texts.
    """

    def __init__(self, columns: Columns, rules: Rules, max_characters: int) -> None:
        self._columns = columns.read_from(columns.settings)
        self.columns = frozenset(self._columns.values())
        """The columns; a row without any of them has nothing of its own."""
        self._rules = rules
        self._max_characters = max_characters

    def of(self, values: Mapping[Any, Any]) -> RowSettings:
        """The settings of a row.

        values: column -> value.

        Raises:
            Unusable: when one is wrong; the message has its name, its value and its column.
        """
        given: dict[str, Any] = {}
        for field, column in self._columns.items():
            try:
                value = self._value(field, values.get(column))
            except ValueError as error:
                raise Unusable("BadSetting", f"{error}{_in_column(field, column)}") from None
            if value is not None:
                given[field] = value
        try:
            return self._rules.settle(given) if given else PLAIN
        except ValueError as error:
            renamed = (_in_column(field, self._columns[field]) for field in given)
            raise Unusable("BadSetting", f"{error}{''.join(renamed)}") from None

    def _value(self, field: str, value: Any) -> Any:
        of_text = field in _TEXTS
        if of_text or isinstance(value, str | Failure) or missing(value):
            value = label(value, field, self._max_characters)
        if value is None or of_text:
            return value
        return as_numbers(field, value) if field in LISTS else as_number(field, value)


def check_words(words: Iterable[tuple[str, str]], prompt: str) -> None:
    """Check that a prompt has the words that settings name.

    words: as of `Rules`.
    prompt: the text.

    Raises:
        Unusable: when it has not.
    """
    for name, value in words:
        try:
            places(value, prompt)
        except ValueError as error:
            raise Unusable("BadSetting", f"{name} = {value!r}: {error}") from None


def _in_column(field: str, column: str | None) -> str:
    return "" if field == column else f" (the column {column!r} is prompts.columns.{field})"
