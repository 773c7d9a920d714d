"""A name for the contents of a model, so that other weights in the same place are noticed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_SECONDS = 10.0

PREFIX = "content-"
_BLOCK = 1 << 20
_BLOCKS = 16


def folder_revision(folder: Path) -> str:
    """`content-` and 16 hex digits over the names, sizes and contents of all files below `folder`.

    Files of more than 16 MiB are read at 16 places of 1 MiB, so that naming a model of 40 GB takes no time. Other
    weights differ everywhere, so this tells them apart; it is no defence against someone who edits single bytes.
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
    """The commit that a hub id means now (at `revision`, a branch or tag, "" for the main one): as the hub says, or as
    the local cache knows where the hub cannot be asked; `revision` as it is where neither can say."""
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP client that it uses

    try:
        return HfApi().model_info(model, revision=revision or None, timeout=_HUB_SECONDS).sha or revision
    except (OSError, HTTPError):
        cached = try_to_load_from_cache(model, "model_index.json", revision=revision or None)
        return Path(cached).parent.name if isinstance(cached, str) else revision
