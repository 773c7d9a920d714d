"""Scores of images by linear layers on their open_clip vectors.

Tensor names: n images, D values of an image vector.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file

from models.errors import ModelError
from models.scorers.base import Floats, GroupScores, ImageGroup
from models.scorers.clip import ClipScorer
from models.scorers.open_clip_files import HUB


class AestheticScorer:
    """A `Scorer` that looks at images alone. Nothing acts between its layers, as in LAION's heads, whose dropout is for
    training.

    model, pretrained, device: as of `ClipScorer`.
    head: a .safetensors file with matrices `....weight` and vectors `....bias`, which act in the order of the numbers
        in their names; on this machine, or after "hf-hub:" on the hub.

    Raises:
        ModelError: when the model cannot be loaded, or the layers do not lead from its vectors to one value.
    """

    dim = None

    def __init__(self, model: str, pretrained: str, head: str, device: str) -> None:
        self._clip = ClipScorer(model, pretrained, device)
        self.name = f"{self._clip.name}+{Path(head).name}"
        tensors = load_file(_fetched(head))
        names = sorted((name for name in tensors if name.endswith("weight")), key=_numbers)
        self._layers = [(tensors[name], tensors.get(name.removesuffix("weight") + "bias", 0.0)) for name in names]
        sizes = [size for weight, _ in self._layers for size in weight.shape[::-1]]
        if sizes[:1] + sizes[-1:] != [self._clip.dim, 1] or sizes[1:-1:2] != sizes[2:-1:2]:
            raise ModelError(
                f"options.head = {head!r}: its layers lead from {' to '.join(map(str, sizes))}, which is not from the "
                f"{self._clip.dim} values of {model!r} to one"
            )

    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        """The scores of whole groups, in order: all images in one pass of the model."""
        values_ND = self._clip.embed_images([image_HWC for group in groups for image_HWC in group.pixels_BHWC])
        for weight, bias in self._layers:
            values_ND = values_ND @ weight.T + bias
        scores_N: Floats = values_ND[:, 0].astype(np.float32)
        ends = np.cumsum([len(group.pixels_BHWC) for group in groups])
        return [GroupScores(score_B=score_B) for score_B in np.split(scores_N, ends[:-1])]


def _fetched(head: str) -> str:
    if not head.startswith(HUB):
        return head
    owner, name, file = head.removeprefix(HUB).split("/", 2)
    try:
        return hf_hub_download(f"{owner}/{name}", file)
    except OSError as error:
        raise ModelError(f"options.head = {head!r} cannot be fetched: {error}") from error


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
