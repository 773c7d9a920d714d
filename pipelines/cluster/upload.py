"""What a job that joins a cluster sends there: its working directory, without outputs, as far as Ray takes it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.dataset.names import EXPORT_RECORD, RUN_RECORD
from pipelines.errors import UserError

_NEVER = ("/out", "/.venv", "/.git", "/.*_cache", "**/__pycache__", "/tests")
_SHOWN = 5
_log = logging.getLogger(__name__)


def working_directory(folder: Path) -> dict[str, Any]:
    """Ray's `runtime_env` that sends a folder: all but what its .gitignore and .rayignore files name, caches, and
    folders that a run or an export has written.

    folder: the folder.

    Raises:
        UserError: when more would be sent than Ray takes; the largest parts are named.
    """
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE
    from ray._private.thirdparty.pathspec.patterns.gitwildmatch import GitWildMatchPattern

    sent, left_out = _walk(folder.absolute())
    if sum(sent.values()) >= GCS_STORAGE_MAX_SIZE:
        raise UserError(_too_large(folder.absolute(), sent, GCS_STORAGE_MAX_SIZE))
    escape: Callable[[str], str] = GitWildMatchPattern.escape
    return {"working_dir": str(folder), "excludes": [*_NEVER, *(f"/{escape(path)}" for path in left_out)]}


def _walk(root: Path) -> tuple[dict[str, int], list[str]]:
    """The bytes of every file that is sent, and what is left out besides the patterns; by paths in the folder.

    The walk is Ray's own, which knows what ignore files mean and where they count.
    """
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sent: dict[str, int] = {}
    left_out: list[str] = []

    def is_left_out(path: Path) -> bool:
        left = path != root and (_is_output(path) or _leads_nowhere(path))
        if left:
            left_out.append(path.relative_to(root).as_posix())
        return left

    def count(path: Path) -> None:
        if path.is_file():
            sent[path.relative_to(root).as_posix()] = path.stat().st_size

    patterns = _get_excludes(root, [*get_runtime_env_default_excludes(), *_NEVER])
    _dir_travel(root, [patterns, is_left_out], count, include_gitignore=True, logger=_log)
    return sent, left_out


def _is_output(path: Path) -> bool:
    return any((path / record).is_file() for record in (RUN_RECORD, EXPORT_RECORD))


def _leads_nowhere(path: Path) -> bool:
    """Whether Ray would walk in a circle here, or wait for ever: a link to a folder above, a pipe."""
    if path.is_dir():
        return path.is_symlink() and path.resolve() in path.absolute().parents
    return path.exists() and not path.is_file()


def _too_large(root: Path, sent: Mapping[str, int], limit: int) -> str:
    parts: Counter[str] = Counter()
    for path, size in sent.items():
        name, inside, _ = path.partition("/")
        parts[name + inside] += size
    largest = ", ".join(f"{name} ({size >> 20} MiB)" for name, size in parts.most_common(_SHOWN))
    return (
        f"the working directory {str(root)!r} has {parts.total() >> 20} MiB, and Ray sends less than {limit >> 20} MiB "
        f"to the nodes of a cluster. The largest are {largest}. Name what workers do not need in a file .rayignore "
        "there, in the form of a .gitignore, or start the job in another folder: models, prompts and outputs belong on "
        "S3 or a shared file system"
    )
