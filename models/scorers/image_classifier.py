"""Probabilities of labels by an image classifier of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from models.errors import ModelError, meant
from models.scorers.base import GroupScores, ImageGroup


class ImageClassifier:
    """A `Scorer` that looks at images alone: its score is the probability of the first label.

    model: folder or hub id; its weights are in safetensors.
    revision: on the hub, "" for the newest.
    labels: column -> label of the model.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        ModelError: when it cannot be loaded, or has no such label.
    """

    dim = None

    def __init__(self, model: str, revision: str, labels: Mapping[str, str], device: str) -> None:
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        where: dict[str, Any] = {"revision": revision} if revision else {}
        try:
            net = AutoModelForImageClassification.from_pretrained(model, use_safetensors=True, **where)
            self._prepare = AutoImageProcessor.from_pretrained(model, **where)
        except (OSError, ValueError) as error:
            raise ModelError(f"model = {model!r} cannot be loaded by transformers: {error}") from error
        numbers = {label: number for number, label in net.config.id2label.items()}
        if unknown := [label for label in labels.values() if label not in numbers]:
            raise ModelError(f"options.labels: {model!r} has no label {unknown[0]!r}{meant(unknown[0], numbers)}")
        self._numbers = {column: int(numbers[label]) for column, label in labels.items()}
        self._net = net.eval().to(self._device)
        self.name = model

    @torch.inference_mode()
    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        """The probabilities for whole groups, in order: all images in one pass of the model."""
        pictures = [image_HWC for group in groups for image_HWC in group.pixels_BHWC]
        pixels = self._prepare(images=pictures, return_tensors="pt", input_data_format="channels_last").pixel_values
        logits_NL = self._net(pixels.to(self._device)).logits.float()
        each_alone = self._net.config.problem_type == "multi_label_classification"
        shares_NL = (logits_NL.sigmoid() if each_alone else logits_NL.softmax(-1)).cpu().numpy()
        ends = np.cumsum([len(group.pixels_BHWC) for group in groups])
        return [self._scores(shares_BL) for shares_BL in np.split(shares_NL, ends[:-1])]

    def _scores(self, shares_BL: Any) -> GroupScores:
        columns = {column: shares_BL[:, number] for column, number in self._numbers.items()}
        return GroupScores(score_B=next(iter(columns.values())), columns=columns)
