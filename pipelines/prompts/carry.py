"""`prompts.carry`: columns of prompt files that go along into the rows, with their types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from models.errors import did_you_mean
from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.prompts import files as prompt_files
from pipelines.prompts.config import Prompts
from pipelines.prompts.formats.paths import ABSENT, inside
from pipelines.prompts.kinds import clean, joined, kind_of, plain, settled
from pipelines.prompts.places import find
from pipelines.prompts.values import printable
from pipelines.prompts.wanted import Wanted

_MAGIC = "*?["


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A column that goes along."""

    name: str
    """In rows."""
    path: tuple[str, ...]
    """Of the value: a column of the files, and keys in it."""
    kind: pa.DataType
    """Of the value in rows."""

    @property
    def source(self) -> str:
        """The path as the setting has it."""
        return ".".join(self.path)

    def of(self, values: Mapping[str, Any]) -> Any:
        """The value of a row.

        values: column -> value.

        Raises:
            ValueError: when rows cannot have it; the message has the path.
        """
        found = inside(values, self.path)
        try:
            return None if found is ABSENT else clean(found, self.kind)
        except ValueError as error:
            raise ValueError(f"{self.source}, which is carried along, {error}") from None


def discover(prompts: Prompts, taken: Collection[str]) -> tuple[Carried, ...]:
    """The columns that go along. Files whose values alone say their types, as JSON lines do, are read once for it.

    prompts: the settings.
    taken: names that rows of a run have already.

    Raises:
        UserError: when a column is not there, has values of several types, or has a name that is taken.
    """
    if not prompts.carry:
        return ()
    all_kinds = _Kinds(prompts)
    kinds = all_kinds.known
    found: dict[str, Carried] = {}
    taken = {name.lower() for name in taken}
    for name, path in _chosen(prompts, kinds):
        if problem := all_kinds.problems.get(path[0]):
            raise UserError(f"prompts.carry: {problem}: a column needs one type, and no bytes; leave it out")
        alike = name.lower()  # SQL takes names that differ in capitals for one
        if alike in found or alike in taken:
            source = ".".join(path)
            whose = "two carried columns would have" if alike in found else "rows have a column of"
            raise UserError(
                f"prompts.carry: {whose} the name {name!r}; say the columns in a table, in which this one gets another "
                f'name: carry = {{ my_{name} = "{source}" }}'
            )
        found[alike] = Carried(name=name, path=path, kind=settled(_inside(kinds, path)))
    return tuple(found.values())


def _chosen(prompts: Prompts, kinds: Mapping[str, pa.DataType]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(name in rows, path) of what the setting names."""
    if isinstance(prompts.carry, Mapping):
        for name, source in prompts.carry.items():
            yield name, _path(source, kinds)
        return
    used = {prompts.columns.name_of(field) for field in prompts.columns.acting}
    for entry in prompts.carry:
        if entry in kinds or not any(character in entry for character in _MAGIC):
            path = _path(entry, kinds)
            yield path[-1], path
            continue
        paths = [path for path in _paths(kinds, entry.count(".")) if fnmatchcase(".".join(path), entry)]
        if not paths:
            raise UserError(f"prompts.carry: no column is like {entry!r}; {_there(kinds)}")
        yield from ((path[-1], path) for path in paths if path[0] not in used)


def _paths(kinds: Mapping[str, pa.DataType], depth: int) -> Iterator[tuple[str, ...]]:
    """The columns, and where they are structs what lies in them, `depth` levels deep."""
    for name, kind in kinds.items():
        if name.count(".") == depth:
            yield (name,)
        if depth > 0 and isinstance(kind, pa.StructType):
            yield from ((name, *rest) for rest in _paths({one.name: one.type for one in kind}, depth - 1))


def _path(source: str, kinds: Mapping[str, pa.DataType]) -> tuple[str, ...]:
    for path in [(source,), tuple(source.split("."))]:
        try:
            _inside(kinds, path)
        except LookupError:
            continue
        return path
    raise UserError(f"prompts.carry: there is no column {source!r}{did_you_mean(source, kinds)}; {_there(kinds)}")


def _there(kinds: Mapping[str, pa.DataType]) -> str:
    return f"there are {', '.join(kinds)}" if kinds else "plain text and templates have no columns: leave it out"


def _inside(kinds: Mapping[str, pa.DataType], path: Sequence[str]) -> pa.DataType:
    kind = kinds[path[0]]
    for key in path[1:]:
        if not isinstance(kind, pa.StructType):
            raise KeyError(key)
        kind = kind.field(key).type
    return kind


class _Kinds:
    """The types of all columns of all files; for a column that rows cannot have, why."""

    def __init__(self, prompts: Prompts) -> None:
        self.known: dict[str, pa.DataType] = {}
        self.problems: dict[str, str] = {}
        for source in find(prompts):
            told = prompt_files.kinds(source, prompts)
            if told is not None:
                for name, kind in told.items():
                    self._add(name, partial(plain, kind), source.uri)
                continue
            rows = prompt_files.read(source, prompts, Wanted(prompts.columns))
            for number, values in islice(rows, prompts.limit or None):
                for name, value in () if isinstance(values, Failure) else values.items():
                    self._add(name, partial(kind_of, value), f"{source.uri}:{number}")

    def _add(self, name: str, find: Callable[[], pa.DataType], where: str) -> None:
        if name in self.problems:
            return
        if not name or printable(name) != name:
            self.problems[name] = f"{where}: the name {printable(name)!r} is none that a column of rows can have"
            self.known.setdefault(name, pa.null())
            return
        known = self.known.get(name, pa.null())
        try:
            self.known[name] = joined(known, find())
        except TypeError as error:
            before = "" if pa.types.is_null(known) else f"; before it was {known}"
            self.problems[name] = f"{where}: {name!r} has {error}{before}"
            self.known.setdefault(name, pa.null())
