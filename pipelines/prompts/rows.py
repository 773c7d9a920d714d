"""Checks the rows of prompt files one by one. A bad row fails alone; the job goes on."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipelines.dataset.failures import Failure
from pipelines.dataset.run_json import PromptFile
from pipelines.dataset.storage import Storage
from pipelines.prompts import files as prompt_files
from pipelines.prompts.carry import Carried
from pipelines.prompts.columns import NONE, SETTINGS, TEXTS, Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.expansion.ask import answered
from pipelines.prompts.expansion.config import Expand
from pipelines.prompts.expansion.counterfactual import carried_over
from pipelines.prompts.formats.base import INSIDE
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.places import find
from pipelines.prompts.settings import PLAIN, RowSettings, Settle, as_number
from pipelines.prompts.templates.rows import templates
from pipelines.prompts.text import Normal, is_plain, normal
from pipelines.prompts.wanted import Wanted

REPEATED = "RepeatedPrompt"


class PromptRow(NamedTuple):
    """A good prompt. Texts are in their normal form (`pipelines.prompts.text`)."""

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
    """file:line (Parquet and JSON: file:row, from 1), or the template and the number of the combination, from 1."""
    prompt_changes: tuple[str, ...] | None = None
    """What the normal form has changed of the text; None where it was in it already."""
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
    answers: Storage | None = None,
    *,
    settle: Settle | None = None,
    wanted: Wanted | None = None,
    carried: Sequence[Carried] = (),
) -> Iterator[PromptRow | FailedPrompt | Dropped]:
    """Every row of the prompt files in order, then those of the templates, with about 20 bytes of memory per prompt,
    and 20 more for given ids. The last template takes none where its parts show that no two of its prompts are equal.

    prompts: the settings.
    answers: the output folder of the run, which keeps what a language model has answered. Without one nobody is asked:
        the rows are those that would be expanded.
    settle: checks the rows' own settings; None reads none.
    wanted: the columns to read, which remembers the others; None for those that the other arguments say.
    carried: what goes along.

    Raises:
        UserError: when a file cannot be read, or the language model cannot be asked.
    """
    check = _Checker(prompts, settle, carried)
    wanted = wanted or Wanted(prompts.columns, settings=settle is not None, carried=[one.path[0] for one in carried])
    unchecked = islice(_unchecked(prompts, wanted), prompts.limit or None)
    rows = (check.row(source, values, different and not prompts.expand) for source, values, different in unchecked)
    yield from rows if prompts.expand is None or answers is None else _expanded(rows, check, prompts.expand, answers)


def _expanded(
    rows: Iterator[PromptRow | FailedPrompt | Dropped], check: _Checker, expand: Expand, output: Storage
) -> Iterator[PromptRow | FailedPrompt | Dropped]:
    """Each row, and what a language model has written for it."""
    asked = ((row, row.prompt if isinstance(row, PromptRow) else None) for row in rows)
    for row, answers in answered(asked, expand, output):
        if not isinstance(row, PromptRow):
            yield row
            continue
        row = row._replace(concept=row.concept or row.prompt)
        if expand.keep_original:
            yield row
        if isinstance(answers, Failure):
            yield FailedPrompt(row.source, row.prompt, answers)
        else:
            yield from check.answers(row, answers)


def _unchecked(prompts: Prompts, wanted: Wanted) -> Iterator[tuple[str, Any, bool]]:
    """(source, values, whether no later row can have its prompt) of every row."""
    filled = templates(prompts)
    for source in find(prompts):
        name = printable(source.uri)
        for number, values in prompt_files.read(source, prompts, wanted):
            yield f"{name}:{number}", values, False
    for template in filled:
        different = template is filled[-1] and template.all_different
        for number, texts in template.rows():
            yield f"{template.at}:{number}", texts, different


def single(text: str, max_characters: int) -> PromptRow | FailedPrompt:
    """A single prompt, checked and cleaned like a row of a file.

    text: the prompt.
    max_characters: longest prompt.
    """
    row = _Checker(Prompts(path="request", max_characters=max_characters)).row("request", (text, *_NO_OTHERS))
    assert not isinstance(row, Dropped)  # the first prompt is never a repeat
    return row


def digests(prompts: Prompts) -> tuple[PromptFile, ...]:
    """The content of every prompt file and template in order, without paths but for the keys in them.

    Raises:
        UserError: when a file cannot be read.
    """
    return (*map(prompt_files.digest, find(prompts)), *(template.digest() for template in templates(prompts)))


class _Unusable(Exception):
    """Ends the check of a row."""

    def __init__(self, error_type: str, error: str) -> None:
        super().__init__(error)
        self.failure = Failure(error_type=error_type, error=error)


class _Checker:
    """Checks rows, and remembers them to find repeated prompts and ids."""

    def __init__(self, prompts: Prompts, settle: Settle | None = None, carried: Sequence[Carried] = ()) -> None:
        self._prompts = prompts
        self._columns = _named(prompts.columns, TEXTS)
        self._settings = _named(prompts.columns, SETTINGS) if settle else {}
        self._with_settings = frozenset(self._settings.values())
        self._settle = settle
        self._carried = carried
        self._texts = HashSet()
        self._ids = HashSet()
        self._repeats: Counter[int] = Counter()

    def row(
        self, source: str, values: Any, different: bool = False, settings: RowSettings = PLAIN
    ) -> PromptRow | FailedPrompt | Dropped:
        """Check a row.

        source: as in `PromptRow`.
        values: as a format of files gives them, or a tuple of those of `TEXTS`.
        different: whether no later one can have its prompt, so that it need not be remembered.
        settings: of a tuple.
        """
        if isinstance(values, Failure):
            return FailedPrompt(source, None, values)
        of_texts = isinstance(values, tuple)
        prompt, given_id, *labels = values if of_texts else map(values.get, self._columns.values())
        try:
            text, changes = _clean(prompt, "prompt", self._prompts.max_characters)
            if text is None:
                raise _Unusable("EmptyPrompt", "the prompt is empty")
            explicit_id = _label(given_id, "prompt_id", self._prompts.max_characters)
            concept = _label(labels[0], "concept", self._prompts.max_characters)
            rarity = _label(labels[1], "rarity", self._prompts.max_characters)
            counterfactual = _label(labels[2], "counterfactual", self._prompts.max_characters)
            if not of_texts and not self._with_settings.isdisjoint(values):
                settings = self._settings_of(values)
            carried = self._along({} if of_texts else values) if self._carried else ()
            prompt_id, noise = self._identify(text, explicit_id, different, settings)
        except _Unusable as unusable:
            unread = prompt is None or isinstance(prompt, Failure)
            shown = None if unread else printable(str(prompt))[: self._prompts.max_characters]
            return FailedPrompt(source, shown, unusable.failure)
        if prompt_id is None:
            return Dropped(source)
        further = (changes or None, noise, settings, carried)
        return PromptRow(prompt_id, text, concept, rarity, counterfactual, source, *further)

    def answers(self, of: PromptRow, texts: Iterable[str]) -> Iterator[PromptRow | FailedPrompt | Dropped]:
        """Check prompts that are written for another one. All but the text is as there; a repeated one is left out."""
        for number, text in enumerate(texts, start=1):
            found = self.row(f"{of.source}, answer {number}", (text, *_NO_OTHERS), settings=of.settings)
            if isinstance(found, PromptRow):
                yield of._replace(
                    prompt_id=found.prompt_id,
                    prompt=found.prompt,
                    counterfactual=carried_over(found.prompt, of.prompt, of.counterfactual),
                    source=found.source,
                    prompt_changes=found.prompt_changes,
                    noise=found.noise,
                )
            elif isinstance(found, FailedPrompt) and found.failure.error_type == REPEATED:
                yield Dropped(found.source)
            else:
                yield found

    def _settings_of(self, values: Mapping[Any, Any]) -> RowSettings:
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

    def _along(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        try:
            return tuple(one.of(values) for one in self._carried)
        except ValueError as error:
            raise _Unusable("UndecodableText", str(error)) from None

    def _identify(
        self, text: str, explicit_id: str | None, different: bool, settings: RowSettings
    ) -> tuple[str | None, str]:
        """The prompt's id, None for a repeat that is dropped; and its `noise`."""
        own = (settings.own, settings.seed)  # more images of the same kind are no other prompt
        whole = text if own == _NOTHING else f"{text}\0{json.dumps(own)}"
        text_hash = _hash(whole)
        repeated = text_hash in self._texts
        if repeated and self._prompts.duplicates == "drop":
            return None, ""
        if repeated and self._prompts.duplicates == "fail":
            raise _Unusable(REPEATED, "this prompt was there before; prompts.duplicates says what then happens")
        if explicit_id is not None:
            id_hash = _hash(explicit_id)
            if id_hash in self._ids:
                raise _Unusable(
                    "RepeatedPromptId", f"prompt_id {explicit_id!r} was there before; every prompt needs its own"
                )
            self._ids.add(id_hash)
        if not different:
            self._texts.add(text_hash)
        if explicit_id is not None:
            return explicit_id, ""
        if repeated:
            self._repeats[text_hash] += 1
        times = f" #{self._repeats[text_hash]}" if repeated else ""
        prompt_id = f"{_hash(whole + times) if times else text_hash:016x}"
        return prompt_id, "" if whole is text else f"{_hash(text + times):016x}"


_NO_OTHERS = (None,) * (len(TEXTS) - 1)
_NOTHING = (PLAIN.own, PLAIN.seed)
_TEXT_SETTINGS = ("negative_prompt", "aspect_ratio")


def _named(columns: Columns, fields: Iterable[str]) -> dict[str, str | None]:
    """Field -> its column; None for a field that takes none, as no column is called so."""
    names = {field: columns.name_of(field) for field in fields}
    return {field: None if name == NONE else name for field, name in names.items()}


def _in_column(field: str, column: str | None) -> str:
    return "" if field == column else f" (the column {column!r} is prompts.columns.{field})"


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INVISIBLE = {"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"}
"""Categories of characters that show nothing by themselves."""
_FILLERS = set("\u115f\u1160\u2800\u3164\uffa0")
"""Characters of other categories that show nothing either."""


def _clean(value: Any, name: str, max_characters: int) -> tuple[str | None, tuple[str, ...]]:
    """The normal form of `value`, None where it is missing or nothing of it can be seen, and what that has changed."""
    if not isinstance(value, str):
        if _missing(value):
            return None, ()
        if isinstance(value, Failure):
            raise _Unusable(value.error_type, value.error)
        hint = f"; {INSIDE}" if isinstance(value, list | dict) else ""
        raise _Unusable("NotText", f"the {name} is {type(value).__name__}, not text{hint}")
    text, changes = (value, ()) if is_plain(value) else _checked(value, name)
    if len(text) > max_characters:
        many = f"the {name} has {len(text)} characters; prompts.max_characters allows {max_characters}"
        raise _Unusable("TooLong", many)
    return text or None, changes


def _checked(text: str, name: str) -> Normal:
    """The normal form of any text; "" where nothing of it can be seen."""
    if not text.isprintable():
        if _SURROGATE.search(text):
            raise _Unusable("UndecodableText", f"the {name} has bytes that are no text in the encoding of its file")
        if _CONTROL.search(text.strip()):
            raise _Unusable("ControlCharacter", f"the {name} has control characters, such as NUL")
    found = normal(text)
    return found if found.text.isascii() or any(map(_visible, found.text)) else Normal("", ())


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
    text, _ = _clean(str(value) if number else value, name, max_characters)
    return text


def printable(text: str) -> str:
    """`text` as valid UTF-8 without NUL, for an error message; other characters become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
