"""What is measured of the images of one group: each against the prompt, and all against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import diversity


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """Of B images. margin: how much nearer the prompt is than its counterfactual, None without one; nearest: the
    highest similarity to another image; nearest and pair_similarity are None for a single image."""

    score_B: NDArray[np.float32]
    margin_B: NDArray[np.float32] | None
    nearest_B: NDArray[np.float32] | None
    vendi: float
    pair_similarity: float | None


def score_group(
    features_BD: NDArray[np.float32], prompt_D: NDArray[np.float32], counterfactual_D: NDArray[np.float32] | None
) -> GroupScores:
    """Scores of unit image vectors against the unit vectors of their texts."""
    score_B = features_BD @ prompt_D
    several = len(features_BD) > 1
    return GroupScores(
        score_B=score_B,
        margin_B=None if counterfactual_D is None else score_B - features_BD @ counterfactual_D,
        nearest_B=diversity.nearest(features_BD)[0] if several else None,
        vendi=diversity.vendi(features_BD),
        pair_similarity=diversity.pair_similarity(features_BD) if several else None,
    )
