"""Is what a model's path names there? For the job and the endpoint, before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pipelines.errors import UserError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""owner/name."""


def check_model(path: str, setting: str = "model.path") -> tuple[str, ...] | None:
    """Check that a path is a pipeline folder, or has the form of a hub id. Returns the parts that the folder names;
    None for a hub id, whose parts are not known.

    path: the path.
    setting: its name, for messages.

    Raises:
        UserError: when it is neither.
    """
    folder = Path(path)
    if folder.exists():
        try:
            index = json.loads((folder / "model_index.json").read_bytes())
            index["_class_name"]
        except (OSError, ValueError, RecursionError, TypeError, LookupError) as error:
            raise UserError(
                f"{setting} = {path!r} has no readable model_index.json, so it is not a diffusers pipeline folder"
            ) from error
        return tuple(name for name in index if not name.startswith("_"))
    if not HUB_ID.fullmatch(path):
        raise UserError(f"{setting} = {path!r}: there is no such folder, and it is not a hub id such as 'owner/name'")
    return None
