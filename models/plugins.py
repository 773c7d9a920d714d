"""Imports the user's own modules, which register interventions and scorers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from models.errors import ModelError

COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What the name of a column, or its beginning, looks like, where a registry or a config chooses it."""


def load(modules: Sequence[str], setting: str = "run.plugins") -> None:
    """Import modules, also from the working directory, where `ray job submit --working-dir` puts them.

    modules: names of Python modules.
    setting: what names them, for the message.

    Raises:
        ModelError: when one cannot be imported.
    """
    if modules and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for name in modules:
        try:
            import_module(name)
        except Exception as error:
            raise ModelError(
                f"{setting}: {name!r} cannot be imported: {type(error).__name__}: {error}. Name a Python module that "
                "is installed on every node, or lies in the working directory."
            ) from error
