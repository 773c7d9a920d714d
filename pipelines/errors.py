"""The one error class for what a user can put right, and words for its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A wrong input or setting. The message names the file, row, key and value, and says what to do.

    Jobs print the message without a traceback and exit with status 2.
    """


def require(good: bool, name: str, value: object, rule: str) -> None:
    """Raises ValueError, with the bad value and the rule, where a setting is not good."""
    if not good:
        raise ValueError(f"{name} = {value!r} is out of range: {rule}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as the end of a message; "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
