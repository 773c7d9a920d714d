"""Plugins that a setting names; a wrong name is the user's to correct."""

from __future__ import annotations

from collections.abc import Sequence

from models import plugins
from models.errors import ModelError
from pipelines.errors import UserError


def load(modules: Sequence[str], setting: str = "run.plugins") -> None:
    """Import them; arguments as of `models.plugins.load`.

    Raises:
        UserError: when one cannot be imported.
    """
    try:
        plugins.load(modules, setting)
    except ModelError as error:
        raise UserError(str(error)) from error
