"""Reads settings that are written as words, KEY=VALUE each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from models.errors import did_you_mean
from pipelines.errors import UserError
from pipelines.serve.settings import ServeArgs


def arguments(words: Sequence[str]) -> ServeArgs:
    """The settings of a command line.

    words: KEY=VALUE each.

    Raises:
        UserError: when one is unknown, or does not fit.
    """
    return checked(given_by(words, ServeArgs.model_fields))


def given_by(words: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Key -> value of words.

    words: KEY=VALUE each.
    known: the keys that there may be.

    Raises:
        UserError: when a word is something else.
    """
    given = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is no setting: write KEY=VALUE, as max_n=4")
        if key not in known:
            raise UserError(f"there is no setting {key!r}{did_you_mean(key, known)}")
        given[key] = value
    return given


def checked(given: Mapping[str, Any]) -> ServeArgs:
    """The settings with these values.

    Raises:
        UserError: when one does not fit.
    """
    try:
        return ServeArgs.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        shown = f"{key} = {given[key]!r}: " if key in given else ""
        raise UserError(shown + first["msg"].removeprefix("Value error, ")) from None
