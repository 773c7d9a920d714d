"""The error class for everything that a user can correct, and the check of a setting."""

from __future__ import annotations


class UserError(Exception):
    """A wrong input or setting. The message names the file, row, key and value, and says what to do.

    Jobs print the message without a traceback and exit with status 2.
    """


def require(good: bool, name: str, value: object, rule: str) -> None:
    """Check one setting.

    good: whether its value is in range.
    name: name of the setting.
    value: its value.
    rule: what the setting needs, for the message.

    Raises:
        ValueError: when the value is out of range; the message has name, value and rule.
    """
    if not good:
        raise ValueError(f"{name} = {value!r} is out of range: {rule}")
