"""Checks the rows of prompt files one by one. A bad row fails alone; the job goes on."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipelines.dataset.failures import Failure
from pipelines.dataset.run_json import PromptFile
from pipelines.prompts import files as prompt_files
from pipelines.prompts.carry import Carried
from pipelines.prompts.columns import SETTINGS, TEXTS
from pipelines.prompts.config import Prompts
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.settings import PLAIN, RowSettings, Settle, as_number
from pipelines.prompts.wanted import Wanted


class PromptRow(NamedTuple):
    """A good prompt. Texts are stripped and in Unicode NFC."""

    prompt_id: str
    """Given, or derived from the text."""
    prompt: str
    """The text."""
    concept: str | None
    """See `Columns`."""
    rarity: str | None
    """See `Columns`."""
    counterfactual: str | None
    """See `Columns`."""
    source: str
    """file:line (Parquet: file:row, from 1)."""
    noise: str = ""
    """What image seeds follow from in place of the id; "" for the id. Rows of one text that differ in their settings
    have the same, so that they can be compared image by image."""
    settings: RowSettings = PLAIN
    """What the row has of its own."""
    carried: tuple[Any, ...] = ()
    """What goes along with it, in the order of the columns that were asked for."""


class FailedPrompt(NamedTuple):
    """A bad row, which becomes a row in failed/."""

    source: str
    """As in `PromptRow`."""
    prompt: str | None
    """The text as far as it could be read."""
    failure: Failure
    """Why it is bad."""


class Dropped(NamedTuple):
    """A repeated prompt where `prompts.duplicates` is "drop"."""

    source: str
    """As in `PromptRow`."""


def read(
    prompts: Prompts,
    settle: Settle | None = None,
    wanted: Wanted | None = None,
    carried: Sequence[Carried] = (),
) -> Iterator[PromptRow | FailedPrompt | Dropped]:
    """Every row of the prompt files in order, with about 20 bytes of memory per prompt, and 20 more for given ids.

    prompts: the settings.
    settle: checks the rows' own settings; None reads none.
    wanted: the columns to read, which remembers the others; None for those that the arguments before say.
    carried: what goes along.

    Raises:
        UserError: when a file cannot be read.
    """
    check = _Checker(prompts, settle, carried)
    wanted = wanted or Wanted(prompts.columns, settings=settle is not None)
    uris = prompt_files.files(prompts)
    rows = ((uri, number, values) for uri in uris for number, values in prompt_files.read(uri, prompts, wanted))
    for uri, number, values in islice(rows, prompts.limit or None):
        yield check.row(f"{printable(uri)}:{number}", values)


def single(text: str, max_characters: int) -> PromptRow | FailedPrompt:
    """A single prompt, checked and cleaned like a row of a file.

    text: the prompt.
    max_characters: longest prompt.
    """
    row = _Checker(Prompts(path="request", max_characters=max_characters)).row("request", {"prompt": text})
    assert not isinstance(row, Dropped)  # the first prompt is never a repeat
    return row


def digests(prompts: Prompts) -> tuple[PromptFile, ...]:
    """The content of every prompt file in order, without paths.

    Raises:
        UserError: when a file cannot be read.
    """
    return tuple(prompt_files.digest(uri) for uri in prompt_files.files(prompts))


class _Unusable(Exception):
    """Ends the check of a row."""

    def __init__(self, error_type: str, error: str) -> None:
        super().__init__(error)
        self.failure = Failure(error_type=error_type, error=error)


class _Checker:
    """Checks rows, and remembers them to find repeated prompts and ids."""

    def __init__(self, prompts: Prompts, settle: Settle | None = None, carried: Sequence[Carried] = ()) -> None:
        self._prompts = prompts
        self._columns = {field: prompts.columns.name_of(field) for field in TEXTS}
        self._settings = {field: prompts.columns.name_of(field) for field in SETTINGS} if settle else {}
        self._with_settings = frozenset(self._settings.values())
        self._settle = settle
        self._carried = carried
        self._texts = HashSet()
        self._ids = HashSet()
        self._repeats: Counter[int] = Counter()

    def row(self, source: str, values: Mapping[str, Any] | Failure) -> PromptRow | FailedPrompt | Dropped:
        if isinstance(values, Failure):
            return FailedPrompt(source, None, values)
        prompt, given_id, *labels = map(values.get, self._columns.values())
        try:
            text = _clean(prompt, "prompt", self._prompts.max_characters)
            if text is None:
                raise _Unusable("EmptyPrompt", "the prompt is empty")
            explicit_id = _label(given_id, "prompt_id", self._prompts.max_characters)
            concept = _label(labels[0], "concept", self._prompts.max_characters)
            rarity = _label(labels[1], "rarity", self._prompts.max_characters)
            counterfactual = _label(labels[2], "counterfactual", self._prompts.max_characters)
            settings = PLAIN if self._with_settings.isdisjoint(values) else self._settings_of(values)
            carried = tuple(self._along(one, values) for one in self._carried) if self._carried else ()
            prompt_id, noise = self._identify(text, explicit_id, settings)
        except _Unusable as unusable:
            unread = prompt is None or isinstance(prompt, Failure)
            shown = None if unread else printable(str(prompt))[: self._prompts.max_characters]
            return FailedPrompt(source, shown, unusable.failure)
        if prompt_id is None:
            return Dropped(source)
        return PromptRow(prompt_id, text, concept, rarity, counterfactual, source, noise, settings, carried)

    def _settings_of(self, values: Mapping[str, Any]) -> RowSettings:
        given = {}
        for field, column in self._settings.items():
            try:
                value = self._setting(field, values.get(column))
            except ValueError as error:
                raise _Unusable("BadSetting", str(error) + _in_column(field, column)) from None
            if value is not None:
                given[field] = value
        assert self._settle is not None
        try:
            return self._settle(given) if given else PLAIN
        except ValueError as error:
            renamed = (_in_column(field, column) for field, column in self._settings.items() if field in given)
            raise _Unusable("BadSetting", str(error) + "".join(renamed)) from None

    def _setting(self, field: str, value: Any) -> Any:
        if isinstance(value, str | Failure) or _missing(value) or field in _TEXT_SETTINGS:
            value = _label(value, field, self._prompts.max_characters)
        return value if value is None or field in _TEXT_SETTINGS else as_number(field, value)

    def _along(self, carried: Carried, values: Mapping[str, Any]) -> Any:
        try:
            return carried.of(values)
        except ValueError as error:
            raise _Unusable("UndecodableText", f"{carried.source}, which is carried along, {error}") from None

    def _identify(self, text: str, explicit_id: str | None, settings: RowSettings) -> tuple[str | None, str]:
        """The prompt's id, None for a repeat that is dropped; and its `noise`."""
        own = (settings.own, settings.seed)  # more images of the same kind are no other prompt
        whole = text if own == _NOTHING else f"{text}\0{json.dumps(own)}"
        text_hash = _hash(whole)
        repeated = text_hash in self._texts
        if repeated and self._prompts.duplicates == "drop":
            return None, ""
        if repeated and self._prompts.duplicates == "fail":
            raise _Unusable("RepeatedPrompt", "this prompt was there before; prompts.duplicates says what then happens")
        if explicit_id is not None:
            id_hash = _hash(explicit_id)
            if id_hash in self._ids:
                raise _Unusable(
                    "RepeatedPromptId", f"prompt_id {explicit_id!r} was there before; every prompt needs its own"
                )
            self._ids.add(id_hash)
        self._texts.add(text_hash)
        if explicit_id is not None:
            return explicit_id, ""
        if repeated:
            self._repeats[text_hash] += 1
        times = f" #{self._repeats[text_hash]}" if repeated else ""
        prompt_id = f"{_hash(whole + times) if times else text_hash:016x}"
        return prompt_id, "" if whole is text else f"{_hash(text + times):016x}"


_NOTHING = (PLAIN.own, PLAIN.seed)
_TEXT_SETTINGS = ("negative_prompt", "aspect_ratio")


def _in_column(field: str, column: str) -> str:
    return "" if field == column else f" (the column {column!r} is prompts.columns.{field})"


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MARK = "\ufeff"
_INVISIBLE = {"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"}
"""Categories of characters that show nothing by themselves."""
_FILLERS = set("\u115f\u1160\u2800\u3164\uffa0")
"""Characters of other categories that show nothing either."""


def _clean(value: Any, name: str, max_characters: int) -> str | None:
    """`value` stripped and in NFC; None where it is missing, or nothing of it can be seen."""
    if not isinstance(value, str):
        if _missing(value):
            return None
        if isinstance(value, Failure):
            raise _Unusable(value.error_type, value.error)
        raise _Unusable("NotText", f"the {name} is {type(value).__name__}, not text")
    if not value.isascii():
        if _SURROGATE.search(value):
            raise _Unusable("UndecodableText", f"the {name} has bytes that are not UTF-8 (or half a surrogate pair)")
        value = unicodedata.normalize("NFC", value).strip().strip(_MARK)
    value = value.strip()
    if len(value) > max_characters:
        many = f"the {name} has {len(value)} characters; prompts.max_characters allows {max_characters}"
        raise _Unusable("TooLong", many)
    if _CONTROL.search(value):
        raise _Unusable("ControlCharacter", f"the {name} has control characters, such as NUL, or a byte order mark")
    seen = bool(value) if value.isascii() else any(map(_visible, value))
    return value if seen else None


def _missing(value: Any) -> bool:
    """Whether there is no value; pandas and others write a number that is none where a table has nothing."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE and character not in _FILLERS


def _label(value: Any, name: str, max_characters: int) -> str | None:
    """A further value of the row as text; JSON and Parquet files may have numbers as ids."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and not _missing(value)
    return _clean(str(value) if number else value, name, max_characters)


def printable(text: str) -> str:
    """`text` as valid UTF-8 without NUL, for an error message; other characters become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
