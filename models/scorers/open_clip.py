"""The kind "open_clip": any model of the library open_clip. Importable without torch."""

from __future__ import annotations

from pathlib import Path

from models.errors import ModelError, did_you_mean, meant
from models.loading.revision import folder_revision
from models.scorers import open_clip_files
from models.scorers.base import Entry, Scorer, ScorerSpec
from models.scorers.open_clip_files import HUB, LOCAL_DIR

_WEIGHTS = (".safetensors", ".bin", ".pth")


def _check(spec: ScorerSpec) -> None:
    model = spec.model
    if not model:
        raise ModelError("model = '' is out of range: needs an open_clip name, local-dir:FOLDER or hf-hub:ID")
    if model.startswith(LOCAL_DIR):
        folder = model.removeprefix(LOCAL_DIR)
        if not Path(folder).is_dir():
            raise ModelError(f"model = {model!r}: there is no folder {folder!r}")
        if not any(file.suffix in _WEIGHTS for file in Path(folder).iterdir()):
            raise ModelError(f"model = {model!r}: the folder holds no weights ({', '.join(_WEIGHTS)})")
    elif not model.startswith(HUB):
        _check_named(model.replace("/", "-"), spec)


def _check_named(name: str, spec: ScorerSpec) -> None:
    names = open_clip_files.models()
    if names and name not in names:
        raise ModelError(f"model = {spec.model!r}: open_clip has no such model{did_you_mean(name, names, cutoff=0.6)}")
    tags = open_clip_files.tags(name)
    if not spec.pretrained:
        named = f"; known: {', '.join(tags)}" if tags else ""
        raise ModelError(f"pretrained = '' leaves {spec.model!r} with random weights: name a tag or a file{named}")
    is_tag = spec.pretrained.lower().replace("-", "_") in tags or not names
    if not is_tag and not Path(spec.pretrained).is_file():
        hint = meant(spec.pretrained, tags, cutoff=0.6)
        raise ModelError(f"pretrained = {spec.pretrained!r}: no file, and no tag of open_clip for {spec.model!r}{hint}")


def _revision(spec: ScorerSpec) -> str:
    if not spec.model.startswith(LOCAL_DIR):
        return spec.revision
    return folder_revision(Path(spec.model.removeprefix(LOCAL_DIR)))


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.clip import ClipScorer

    return ClipScorer(spec.model, spec.pretrained, device)


ENTRY = Entry(open=_open, check=_check, revision=_revision, vectors=True)
