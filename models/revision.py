"""A name for the contents of a model folder, so that other weights in the same place are noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
