"""A scorer that this project does not have: how light a picture is. Importing this registers it, as with a user's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.scorers import registry
from models.scorers.base import Entry, GroupScores, ImageGroup, ScorerSpec


class LightScorer:
    """score: the mean of the pixels, 0 to 1, times the option `weight`. It fails on the prompt "dark"."""

    name = "light"
    dim = None

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def score(self, groups: Sequence[ImageGroup]) -> list[GroupScores]:
        if "dark" in [group.prompt for group in groups]:
            raise RuntimeError("it is too dark")
        return [self._score(group.pixels_BHWC.astype(np.float32) / 255) for group in groups]

    def _score(self, pixels_BHWC: NDArray[np.floating]) -> GroupScores:
        light_B = self._weight * pixels_BHWC.mean(axis=(1, 2, 3))
        return GroupScores(score_B=light_B, columns={"contrast": pixels_BHWC.std(axis=(1, 2, 3))})


def _check(spec: ScorerSpec) -> None:
    if spec.options.get("weight") == 0:
        raise ModelError("options.weight = 0: needs another number")


def _open(spec: ScorerSpec, device: str) -> LightScorer:
    return LightScorer(spec.options.get("weight", 1.0))


ENTRY = Entry(
    open=_open,
    check=_check,
    vectors=False,
    columns={"contrast": "standard deviation of the pixels"},
    options=("weight",),
)
registry.register("light", ENTRY)
