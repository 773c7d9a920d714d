"""Names the contents of a model, so that other weights under the same path are noticed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_SECONDS = 10.0

PREFIX = "content-"
"""Beginning of the revision of a local folder."""

_BLOCK = 1 << 20
_BLOCKS = 16


def folder_revision(folder: Path) -> str:
    """The revision of a local folder: `content-` and 16 hex digits over the names, sizes and contents of all its files.

    Files of more than 16 MiB are read at 16 places of 1 MiB, so that hashing a model of 40 GB takes no time. Other
    weights differ everywhere, so this tells them apart; it does not detect a change of single bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _BLOCK * _BLOCKS:
                digest.update(file.read())
            else:
                for block in range(_BLOCKS):
                    file.seek((size - _BLOCK) * block // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
    return PREFIX + digest.hexdigest()[:16]


def hub_commit(model: str, revision: str) -> str:
    """The current commit of a model on the hub, or in the local cache where the hub is not reachable.

    Returns `revision` unchanged where neither has it.

    model: hub id.
    revision: branch, tag or commit; "" for the main branch.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP client that it uses

    try:
        return HfApi().model_info(model, revision=revision or None, timeout=_HUB_SECONDS).sha or revision
    except (OSError, HTTPError):
        cached = try_to_load_from_cache(model, "model_index.json", revision=revision or None)
        return Path(cached).parent.name if isinstance(cached, str) else revision
