"""Reads TOML tables into frozen dataclasses, with exact messages where a table does not fit.

The dataclass is the specification: its fields are the allowed keys, with their types and defaults.
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from models.errors import meant
from pipelines.config.write_toml import value_text
from pipelines.errors import UserError

T = TypeVar("T")


def read(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: when the file cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read the config {path}: {error.strerror}. Give --config an existing TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None


def build(
    kind: type[T],
    table: Mapping[str, Any],
    *,
    file: str,
    at: str = "",
    given: Mapping[str, Any] | None = None,
    hints: Sequence[str] = (),
) -> T:
    """An instance of a dataclass from a table.

    kind: the dataclass.
    table: key -> value, as TOML gives it.
    file: for messages.
    at: name of the table, for messages; "" is the top of the file.
    given: fields that do not come from the table.
    hints: further keys that a message may suggest for an unknown one.

    Raises:
        UserError: when a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    given = given or {}
    if not isinstance(table, Mapping):
        raise wrong(file, at, table, f"a table ([{at}])")
    types_of = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(typing.cast(Any, kind)) if f.name not in given}
    for key in table:
        if key not in known:
            raise UserError(f"{file}: {_where(at)}unknown key {key!r}{meant(key, [*known, *hints])}")
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{file}: {_where(at)}the key {name!r} is missing and has no default")
    values = {key: _convert(types_of[key], value, file, f"{at}.{key}" if at else key) for key, value in table.items()}
    try:
        return kind(**values, **given)
    except ValueError as error:
        raise UserError(f"{file}: {_where(at)}{error}") from error


def _where(at: str) -> str:
    return f"table [{at}]: " if at else ""


def _convert(kind: Any, value: Any, file: str, at: str) -> Any:
    """`value` in the type `kind`; TOML integers are accepted as floats, TOML arrays become tuples."""
    origin = get_origin(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, file=file, at=at)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(get_args(kind), value, file, at)
    if origin is Literal:
        if value in get_args(kind) and not isinstance(value, bool):
            return value
        raise wrong(file, at, value, "one of " + ", ".join(map(repr, get_args(kind))))
    if origin is tuple:
        return _convert_tuple(get_args(kind), value, file, at)
    if origin is dict:
        return _plain_table(value, file, at)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is kind:
        return value
    if kind is str and not isinstance(value, Mapping | list):
        quoted = f'"{_written(value)}"'
        raise wrong(file, at, value, f"text, which stands in quotes: {quoted}, on a command line --set {at}='{quoted}'")
    raise wrong(file, at, value, _WORDS[kind])


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _convert_union(kinds: tuple[Any, ...], value: Any, file: str, at: str) -> Any:
    """`str | tuple[str, ...]`: an array goes to the tuple. `X | None`: run.json has null for None."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(k for k in kinds if k is not type(None))
    chosen = next((k for k in kinds if (get_origin(k) is tuple) == isinstance(value, list)), kinds[0])
    return _convert(chosen, value, file, at)


def _convert_tuple(kinds: tuple[Any, ...], value: Any, file: str, at: str) -> tuple[Any, ...]:
    many = len(kinds) == 2 and kinds[1] is Ellipsis
    if not isinstance(value, list | tuple) or not (many or len(value) == len(kinds)):
        raise wrong(file, at, value, "an array" if many else f"an array of {len(kinds)} values")
    each = [kinds[0]] * len(value) if many else list(kinds)
    return tuple(_convert(k, v, file, f"{at}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True)))


def _plain_table(value: Any, file: str, at: str) -> dict[str, Any]:
    """A table with any keys: texts, numbers, booleans, and arrays and tables of them."""
    if not isinstance(value, Mapping):
        raise wrong(file, at, value, "a table")
    return {key: _plain(item, file, f"{at}.{key}") for key, item in value.items()}


def _plain(value: Any, file: str, at: str) -> Any:
    if isinstance(value, Mapping):
        return _plain_table(value, file, at)
    if isinstance(value, list | tuple):
        return [_plain(item, file, at) for item in value]
    if isinstance(value, str | int | float):
        return value
    raise wrong(file, at, value, "text, a number, true or false, an array or a table")


def wrong(file: str, at: str, value: Any, needs: str) -> UserError:
    """The error for a value of the wrong type.

    file, at: file and key.
    value: the value.
    needs: what it must be.
    """
    return UserError(f"{file}: {at} = {_written(value)}: must be {needs}")


def _written(value: Any) -> str:
    """A value as it was written, but for the quotes of texts."""
    return value_text(value, lambda one: one.isoformat() if isinstance(one, date | time) else repr(one))


def override(table: dict[str, Any], text: str) -> None:
    """Set one value of nested tables, in place.

    table: the tables of a file.
    text: `key.sub=value`, the value in TOML; bare words are text.

    Raises:
        UserError: when the text has no such form, or a part of the key is not a table.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"--set {text!r}: these bytes are not UTF-8") from None
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {text!r}: write key.sub=value, for example --set sampling.steps=8")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = value  # bare words, such as a path, need no quotes on a command line
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {text!r}: {part!r} is not a table in the config")
    table[parts[-1]] = parsed
