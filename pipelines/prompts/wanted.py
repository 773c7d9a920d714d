"""Which columns of prompt files are read, and which are there and are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict

from pipelines.errors import UserError
from pipelines.prompts.columns import FIELDS, NONE, SETTINGS, TEXTS, Columns

_SHOWN = 20
_REMEMBERED = 1000
"""Most names of columns, as every JSON line may have keys of its own."""


class Wanted:
    """The columns to read from all files of a run; it remembers what else was there.

    columns: the settings.
    settings: whether to read the rows' own settings.
    carried: columns that go along.
    """

    def __init__(self, columns: Columns, *, settings: bool = True, carried: Iterable[str] = ()) -> None:
        self._columns = columns
        self._fields = FIELDS if settings else TEXTS
        self.carried = {*carried}
        """Columns that go along."""
        self._used = self.carried | {name for field in self._fields if (name := columns.name_of(field)) != NONE}
        self._seen: dict[str, None] = {}

    @property
    def prompt(self) -> str:
        """The column of the text."""
        return self._columns.name_of("prompt")

    @property
    def required(self) -> dict[str, str]:
        """Setting -> the column that it names: no file may lack it."""
        named = asdict(self._columns) | {"prompt": self.prompt}
        return {f"columns.{field}": name for field, name in named.items() if name not in ("", NONE)}

    @property
    def settings(self) -> list[str]:
        """The row settings for which there were columns."""
        return [field for field in SETTINGS if self._columns.name_of(field) in self._seen]

    @property
    def unused(self) -> list[str]:
        """The names of columns that were there and are not read, in the order in which they were found."""
        return [name for name in self._seen if name not in self._used]

    def see(self, available: Set[str]) -> None:
        """Remember the columns of a file, or the keys of a row."""
        if self._seen.keys() >= available:
            return
        for name in available:
            if name not in self._seen and len(self._seen) < _REMEMBERED:
                self._seen[name] = None

    def of(self, available: Sequence[str], uri: str) -> list[str]:
        """The columns of a file that are read.

        available: names of the file's columns.
        uri: name of the file, for messages.

        Raises:
            UserError: when a column that the settings name is missing, or two have the same name.
        """
        self.see(dict.fromkeys(available).keys())
        for setting, name in self.required.items():
            if name not in available:
                more = f", and {len(available) - _SHOWN} more" if len(available) > _SHOWN else ""
                raise UserError(
                    f"{uri} has no column {name!r} for the {setting.removeprefix('columns.')}; it has "
                    f"{list(available[:_SHOWN])}{more}. Set prompts.{setting} to one of them."
                )
        for field in self._fields:
            name = self._columns.name_of(field)
            if available.count(name) > 1:
                raise UserError(
                    f"{uri} has {available.count(name)} columns {name!r}, and only one can be the {field}. Rename all "
                    f"but one, or set prompts.columns.{field} to another column."
                )
        if twice := [name for name in self.carried if available.count(name) > 1]:
            raise UserError(
                f"{uri} has several columns {twice[0]!r}, of which prompts.carry takes one: rename the others"
            )
        return [name for name in available if name in self._used]
