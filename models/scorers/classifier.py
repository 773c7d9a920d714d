"""The kind "classifier": an image classifier of transformers, with a column for each label that is asked for, such as
those of a filter of nudity. Importable without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from models.errors import ModelError, meant
from models.loading.revision import folder_revision
from models.scorers.base import Entry, Scorer, ScorerSpec


def _labels(spec: ScorerSpec) -> dict[str, str]:
    """Column -> label, in the order of the option."""
    labels = spec.options.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ModelError(f'options.labels = {labels!r}: needs labels of the model, for example ["nsfw"]')
    columns = {re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_"): label for label in labels}
    if len(columns) < len(labels):
        raise ModelError(f"options.labels = {labels!r}: two of them would be columns of one name")
    return columns


def _check(spec: ScorerSpec) -> None:
    if not spec.model:
        raise ModelError(
            "model = '' is out of range: needs a folder or a hub id of an image classifier of transformers"
        )
    wanted = _labels(spec)
    if not Path(spec.model).exists():
        return
    try:
        known = list(json.loads((Path(spec.model) / "config.json").read_bytes())["id2label"].values())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model = {spec.model!r}: its config.json names no labels ({error!r})") from None
    for label in wanted.values():
        if label not in known:
            raise ModelError(f"options.labels: {spec.model!r} has no label {label!r}{meant(label, known)}")


def _revision(spec: ScorerSpec) -> str:
    return folder_revision(Path(spec.model)) if Path(spec.model).exists() else spec.revision


def _columns(spec: ScorerSpec) -> dict[str, str]:
    return {column: f"probability of the label `{label}`" for column, label in _labels(spec).items()}


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.image_classifier import ImageClassifier

    revision = "" if Path(spec.model).exists() else spec.revision
    return ImageClassifier(spec.model, revision, _labels(spec), device)


ENTRY = Entry(
    open=_open,
    check=_check,
    revision=_revision,
    vectors=False,
    score="probability of the first label that was asked for; the text has no part in it",
    columns=_columns,
    options=("labels",),
    over_frames="max",  # a filter of what must not be there: one frame is enough
)
