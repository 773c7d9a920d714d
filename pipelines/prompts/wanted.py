"""Which columns of prompt files are read, and which are there and are not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import asdict

from pipelines.errors import UserError
from pipelines.prompts.columns import NONE, Columns

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
        self.columns = columns
        """The settings."""
        self.carried = {*carried}
        """Columns that go along."""
        self._fields = tuple(field for field in columns.acting if settings or field not in columns.settings)
        self._used = self.carried | {name for field in self._fields if (name := columns.name_of(field)) != NONE}
        self._seen: dict[str, None] = {}
        self._keys: Mapping[str, str | None] = {}

    @property
    def required(self) -> dict[str, str]:
        """Field -> the column that the settings name for it: no file may lack it, unless its folders say it."""
        named = asdict(self.columns) | {"prompt": self.columns.name_of("prompt")}
        return {field: name for field, name in named.items() if name not in ("", NONE) and name not in self._keys}

    @property
    def pictures(self) -> set[str]:
        """The columns whose values are pictures, or where these lie."""
        fields = ("source_image", "source_mask") if self.columns.pictured else ()
        return {self.columns.name_of(field) for field in fields} - {NONE}

    @property
    def paths(self) -> list[str]:
        """Names of columns that may be paths to what lies inside of one."""
        return sorted(name for name in self._used if "." in name)

    @property
    def settings(self) -> list[str]:
        """The row settings for which there were columns."""
        return [field for field in self.columns.settings if self._is_there(self.columns.name_of(field))]

    @property
    def unused(self) -> list[str]:
        """The names of columns that were there and are not read, in the order in which they were found."""
        used = self._used | {name.split(".")[0] for name in self.paths}
        return [name for name in self._seen if name not in used]

    def _is_there(self, name: str) -> bool:
        return name in self._seen or ("." in name and name.split(".")[0] in self._seen)

    def enter(self, keys: Mapping[str, str | None]) -> None:
        """Begin a file.

        keys: that its folders say, such as lang=en; they come before columns of the same names.
        """
        self._keys = keys
        self.see(keys.keys())

    def see(self, available: Set[str]) -> None:
        """Remember the columns of a file, or the keys of a row."""
        if self._seen.keys() >= available:
            return
        for name in available:
            if name not in self._seen and len(self._seen) < _REMEMBERED:
                self._seen[name] = None

    def of(self, available: Sequence[str], uri: str, inside: Collection[str] = ()) -> list[str]:
        """The columns of a file that are read.

        available: names of the file's columns.
        uri: name of the file, for messages.
        inside: paths to what lies inside of columns.

        Raises:
            UserError: when a column that the settings name is missing, or two have the same name.
        """
        self.see(dict.fromkeys(available).keys())
        for field, name in self.required.items():
            if name not in available and name not in inside:
                more = f", and {len(available) - _SHOWN} more" if len(available) > _SHOWN else ""
                raise UserError(
                    f"{uri} has no column {name!r} for the {field}; it has {list(available[:_SHOWN])}{more}. "
                    f"Set prompts.columns.{field} to one of them."
                )
        for field in self._fields:
            name = self.columns.name_of(field)
            if available.count(name) > 1:
                raise UserError(
                    f"{uri} has {available.count(name)} columns {name!r}, and only one can be the {field}. Rename all "
                    f"but one, or set prompts.columns.{field} to another column."
                )
        if twice := [name for name in self.carried if available.count(name) > 1]:
            raise UserError(
                f"{uri} has several columns {twice[0]!r}, of which prompts.carry takes one: rename the others"
            )
        return [name for name in (*available, *sorted(inside)) if name in self._used and name not in self._keys]
