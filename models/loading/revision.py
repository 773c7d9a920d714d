"""Names the contents of a model, so that other weights under the same path are noticed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from models import hub
from models.spec import Lora, ModelSpec

_COMMIT = re.compile(r"[0-9a-f]{40}")

PREFIX = "content-"
"""Beginning of the revision of a local folder."""

_BLOCK = 1 << 20
_BLOCKS = 16


def pinned(spec: ModelSpec) -> ModelSpec:
    """A model with the revisions of what lies in local files, and the commits of what lies on a hub, filled in."""
    at = Path(spec.path)
    revision = folder_revision(at) if at.exists() else hub_commit(spec.path, spec.revision)
    file = content_revision(Path(spec.transformer_file)) if spec.transformer_file else ""
    loras = tuple(map(_pinned_lora, spec.loras))
    return replace(spec, revision=revision, transformer_file_revision=file, loras=loras)


def _pinned_lora(lora: Lora) -> Lora:
    at = Path(lora.path)
    if at.exists():
        return replace(lora, revision=content_revision(at))
    return replace(lora, revision=hub_commit(lora.path, lora.revision, lora.weight_name or hub.LORA_WEIGHTS))


def content_revision(at: Path) -> str:
    """The revision of a local file or folder, as `folder_revision` makes it."""
    return folder_revision(at) if at.is_dir() else _revision([(at.name, at)])


def folder_revision(folder: Path) -> str:
    """The revision of a local folder: `content-` and 16 hex digits over the names, sizes and contents of all its files.

    Files of more than 16 MiB are read at 16 places of 1 MiB, so that hashing a model of 40 GB takes no time. Other
    weights differ everywhere, so this tells them apart; it does not detect a change of single bytes.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return _revision((path.relative_to(folder).as_posix(), path) for path in files)


def _revision(files: Iterable[tuple[str, Path]]) -> str:
    """files: the name of each, and where it is."""
    digest = hashlib.sha256()
    for name, path in files:
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _BLOCK * _BLOCKS:
                digest.update(file.read())
            else:
                for block in range(_BLOCKS):
                    file.seek((size - _BLOCK) * block // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
    return PREFIX + digest.hexdigest()[:16]


def hub_commit(model: str, revision: str, file: str = "model_index.json") -> str:
    """The current commit of a model on the hub, or in the local cache where the hub is not reachable.

    Returns `revision` unchanged where neither has it.

    model: hub id.
    revision: branch, tag or commit; "" for the main branch.
    file: one of it, by which it is found in the cache.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import try_to_load_from_cache

    if (found := hub.told(model, revision)) is not None:
        return found.sha or revision
    cached = try_to_load_from_cache(model, file, revision=revision or None)
    return Path(cached).parent.name if isinstance(cached, str) else revision
