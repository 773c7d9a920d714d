"""The values of a template's slots, from its table or from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.errors import meant
from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts import files
from pipelines.prompts.columns import TEXTS, Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.other_names import other_names
from pipelines.prompts.places import find
from pipelines.prompts.values import Unusable, label, missing
from pipelines.prompts.wanted import Wanted

_MOST_WEIGHT = 1000
_OF_A_VALUE = ("value", "weight")
_OF_A_FILE = ("path", "format", "encoding", "columns")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of a slot."""

    text: str
    """What is put into texts."""
    weight: int = 1
    """How often it is drawn, beside the others of its slot."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of what else there is to say of it."""

    def get(self, name: str) -> str | None:
        """A field; "" is the value itself. None where there is none of this name."""
        return (self.fields.get(name) or None) if name else self.text


def values_of(given: Any, prompts: Prompts, at: str, used: Iterable[str]) -> tuple[Value, ...]:
    """The values of a slot.

    given: what stands in the table `slots`.
    prompts: the settings; `duplicates` says what a repeated value leads to.
    at: name of the setting, for messages.
    used: the fields that the template uses; of files they are columns.

    Raises:
        UserError: when it has no such form, or a file cannot be read.
    """
    if isinstance(given, str | Mapping):
        with other_names({key: f"{at}.{key}" for key in _OF_A_FILE}):
            found = list(_from_files(given, at, {*used} - {"", *TEXTS}))
    elif isinstance(given, list | tuple):
        found = [_from_table(one, f"{at}[{number}]") for number, one in enumerate(given)]
    else:
        raise UserError(f"{at} = {given!r}: must be an array of values, a file, or a table with path")
    if not found:
        raise UserError(f"{at} has no value; it needs one or more")
    return tuple(_each_once(found, prompts, at))


def _each_once(values: list[Value], prompts: Prompts, at: str) -> Iterator[Value]:
    if prompts.duplicates == "keep":
        yield from values
        return
    seen: set[str] = set()
    for value in values:
        if value.text not in seen:
            yield value
        elif prompts.duplicates == "fail":
            raise UserError(
                f'{at}: the value {value.text!r} is there twice. Take one out, or set prompts.duplicates: "drop" takes '
                'the first one, "keep" makes the prompts of both'
            )
        seen.add(value.text)


def _from_table(given: Any, at: str) -> Value:
    if not isinstance(given, Mapping):
        return Value(text=_text(given, at))
    if "value" not in given:
        raise UserError(f"{at}: the key 'value' is missing")
    weight = given.get("weight", 1)
    if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= _MOST_WEIGHT:
        raise UserError(f"{at}.weight = {weight!r} is out of range: needs a whole number from 1 to {_MOST_WEIGHT}")
    further = {name: _text(of, f"{at}.{name}") for name, of in given.items() if name not in _OF_A_VALUE}
    return Value(text=_text(given["value"], f"{at}.value"), weight=weight, fields=further)


def _text(given: Any, at: str) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float) or missing(given):
        raise UserError(f"{at} = {given!r}: must be text or a number")
    try:
        return label(given, "value") or ""
    except Unusable as unusable:
        raise UserError(f"{at}: {unusable.failure.error}") from None


def _from_files(given: str | Mapping[str, Any], at: str, used: set[str]) -> Iterator[Value]:
    source = _source(given, at)
    names = {field: source.columns.name_of(field) for field in TEXTS} | {field: field for field in used}
    for file in find(source):
        for number, row in files.read(file, source, Wanted(source.columns, settings=False, carried=used)):
            place = f"{file.uri}:{number}"
            columns = {} if isinstance(row, Failure) else {field: row.get(name) for field, name in names.items()}
            value = row if isinstance(row, Failure) else columns.pop("prompt")
            if isinstance(value, Failure):
                raise UserError(f"{place}: {value.error}")
            if missing(value):
                raise UserError(f"{place}: there is no value")
            further = {name: _text(of, f"{place}: {name}") for name, of in columns.items() if not missing(of)}
            yield Value(text=_text(value, place), fields=further)


def _source(given: str | Mapping[str, Any], at: str) -> Prompts:
    """The file of a slot as the table [prompts] would have it."""
    if isinstance(given, str):
        given = {"path": given}
    _check_keys(given, _OF_A_FILE, at)
    columns = given.get("columns", {})
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns.values()):
        raise UserError(f"{at}.columns = {columns!r}: must be a table of names of columns")
    _check_keys(columns, TEXTS, f"{at}.columns")
    path = given.get("path", "")
    path = tuple(path) if isinstance(path, list) else path
    further = {name: given[name] for name in ("format", "encoding") if name in given}
    try:
        return Prompts(path=path, columns=Columns(**columns), **further)
    except (TypeError, ValueError) as error:
        raise UserError(f"{at}: {error}") from error


def _check_keys(given: Mapping[str, Any], known: Sequence[str], at: str) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"{at}: unknown key {key!r}{meant(key, known)}")
