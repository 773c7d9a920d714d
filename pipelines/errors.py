"""The error class for everything that a user can correct."""

from __future__ import annotations


class UserError(Exception):
    """A wrong input or setting. The message names the file, row, key and value, and says what to do.

    Jobs print the message without a traceback and exit with status 2.
    """
