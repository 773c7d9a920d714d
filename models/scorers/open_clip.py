"""The kind "open_clip": any model of the library open_clip. Importable without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from models.errors import ModelError, did_you_mean
from models.loading.revision import folder_revision
from models.scorers.base import Entry, Scorer, ScorerSpec

_LOCAL_DIR, _HUB = "local-dir:", "hf-hub:"
WITH_OWN_WEIGHTS = (_LOCAL_DIR, _HUB)
"""Beginnings of names of models that bring their weights along; of others `pretrained` names them."""

_WEIGHTS = (".safetensors", ".bin", ".pth")


def _check(spec: ScorerSpec) -> None:
    model = spec.model
    if not model:
        raise ModelError("model = '' is out of range: needs an open_clip name, local-dir:FOLDER or hf-hub:ID")
    if model.startswith(_LOCAL_DIR):
        folder = model.removeprefix(_LOCAL_DIR)
        if not Path(folder).is_dir():
            raise ModelError(f"model = {model!r}: there is no folder {folder!r}")
        if not any(file.suffix in _WEIGHTS for file in Path(folder).iterdir()):
            raise ModelError(f"model = {model!r}: the folder holds no weights ({', '.join(_WEIGHTS)})")
    elif not model.startswith(_HUB):
        if (names := _names()) and model.replace("/", "-") not in names:
            raise ModelError(f"model = {model!r}: open_clip has no such model{did_you_mean(model, names, cutoff=0.6)}")
        if not spec.pretrained:  # open_clip would take random weights
            raise ModelError(f"pretrained = '' is out of range: {model!r} needs {_weights(model)}")


def _names() -> list[str]:
    """Names of open_clip's models, read from its folder: importing it would load torch."""
    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec else None
    return sorted(file.stem for folder in folders or () for file in Path(folder, "model_configs").glob("*.json"))


def _weights(model: str) -> str:
    from models.scorers.clip import tags  # loads torch, which no config pays for that is right

    return f"the name of its weights; open_clip has {', '.join(tags(model)) or 'none'}, or give a file of weights"


def _revision(spec: ScorerSpec) -> str:
    if not spec.model.startswith(_LOCAL_DIR):
        return spec.revision
    return folder_revision(Path(spec.model.removeprefix(_LOCAL_DIR)))


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.clip import ClipScorer

    return ClipScorer(spec.model, spec.pretrained, device)


ENTRY = Entry(open=_open, check=_check, revision=_revision, vectors=True)
