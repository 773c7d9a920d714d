"""The kind "aesthetic": a trained head of linear layers on the image vectors of an open_clip model, as LAION's
predictors are. Importable without torch."""

from __future__ import annotations

from pathlib import Path

from models.errors import ModelError
from models.loading.revision import content_revision
from models.scorers import open_clip
from models.scorers.base import Entry, Scorer, ScorerSpec
from models.scorers.open_clip_files import HUB, LOCAL_DIR


def _head(spec: ScorerSpec) -> str:
    head = spec.options.get("head")
    if not isinstance(head, str) or not head.endswith(".safetensors"):
        raise ModelError(
            f"options.head = {head!r}: needs a .safetensors file with the head's linear layers, on this machine or "
            f"{HUB}OWNER/NAME/FILE (a .pth is converted once with safetensors.torch.save_file)"
        )
    return head


def _check(spec: ScorerSpec) -> None:
    open_clip.ENTRY.check(spec)
    head = _head(spec)
    if head.startswith(HUB):
        if head.count("/") < 2:
            raise ModelError(f"options.head = {head!r}: write {HUB}OWNER/NAME/FILE.safetensors")
    elif not Path(head).is_file():
        raise ModelError(f"options.head = {head!r}: there is no such file")


def _revision(spec: ScorerSpec) -> str:
    head = _head(spec)
    local = [open_clip.ENTRY.revision(spec)] if spec.model.startswith(LOCAL_DIR) else []
    local += [] if head.startswith(HUB) else [content_revision(Path(head))]
    return "+".join(local) or spec.revision


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.aesthetic_head import AestheticScorer

    return AestheticScorer(spec.model, spec.pretrained, _head(spec), device)


ENTRY = Entry(
    open=_open,
    check=_check,
    revision=_revision,
    vectors=False,
    score="what the head gives for the image, in the units that it was trained on; the text has no part in it",
    options=("head",),
)
