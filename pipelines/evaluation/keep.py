"""Which of many pictures of a prompt are kept: those that fit it and differ from each other, as in Scalable Group
Inference (arXiv 2508.15773).

The paper prunes unfinished pictures during sampling and solves a quadratic program. Here finished pictures are chosen
greedily by the same two terms, both from one open_clip model; the oracle that judges has no part in it.
"""

from __future__ import annotations

import numpy as np

from models.scorers.base import Floats

_DIVERSITY = 1.5
"""The paper's lambda: weight of the distance to what is kept."""


def kept(score_B: Floats, features_BD: Floats, count: int) -> list[int]:
    """Numbers of the kept pictures, in ascending order.

    The first has the best score; then each time the one whose score and mean distance to those before are best.

    score_B: float [B], cosine of each picture and the prompt.
    features_BD: float [B, D], image vectors of unit length.
    count: how many are kept, 1 to B.
    """
    distance_BB = 1.0 - features_BD @ features_BD.T
    chosen = [int(np.argmax(score_B))]
    while len(chosen) < count:
        gain_B = score_B + _DIVERSITY * distance_BB[:, chosen].mean(axis=1)
        gain_B[chosen] = -np.inf
        chosen.append(int(np.argmax(gain_B)))
    return sorted(chosen)
