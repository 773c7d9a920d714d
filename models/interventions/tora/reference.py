"""TORA as its paper (arXiv 2510.03886) writes it, one sample at a time and in the dtype of its tokens: a reference for
the tests, and a baseline for the benchmark."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.interventions.tora.config import ToraConfig


def align_by_svd(tokens_BND: Tensor, direction_BD: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """TORA by a full singular value decomposition of each sample; the result is like `tokens_BND`.

    tokens_BND: float [B, N, D].
    direction_BD: float [B, D], the semantic direction.
    valid_BN: bool [B, N], the tokens to change.
    config: the settings.
    """
    result = tokens_BND.clone()
    for row, valid_N in enumerate(valid_BN):
        count = int(valid_N.sum())
        if count >= 3:
            result[row, valid_N] = _align_sample(tokens_BND[row, valid_N], direction_BD[row], config)
    return result


def _align_sample(tokens_ND: Tensor, direction_D: Tensor, config: ToraConfig) -> Tensor:
    # 1. Singular value decomposition of the tokens without their mean.
    mean = tokens_ND.mean(0) * config.centre
    centred = tokens_ND - mean
    _, singular, right = torch.linalg.svd(centred, full_matrices=False)

    # 2. The number of principal directions, and the parts of the tokens inside and outside their space.
    rank = len(tokens_ND) - config.centre
    k = min(config.components or elbow(singular.tolist(), rank), rank - 1)
    principal = right[:k]
    inside = centred @ principal.T @ principal
    outside = centred - inside

    # 3. Token Spacing.
    spaced = config.sigma * inside

    # 4. Residual Alignment: the part outside is rotated in the plane of the leading residual direction and of the
    # semantic direction's own residual part, from the first towards the second (Givens rotation).
    target = direction_D - principal.T @ (principal @ direction_D)
    target = target / target.norm()
    leading = right[k] * torch.sign(right[k] @ target)
    angle = torch.acos(leading @ target) * config.angle
    across = target - (leading @ target) * leading
    across = across / across.norm()
    along_leading, along_across = outside @ leading, outside @ across
    rotated = (
        outside
        + torch.outer(along_leading, (angle.cos() - 1) * leading + angle.sin() * across)
        + torch.outer(along_across, (angle.cos() - 1) * across - angle.sin() * leading)
    )

    result: Tensor = mean + spaced + rotated
    return result


def elbow(singular: list[float], rank: int) -> int:
    """The number of principal directions by Maximum Distance to Chord: of the point (j, s_j) farthest from the line
    through the first and the last one.

    singular: singular values, descending.
    rank: how many of them are not zero, 2 or more.
    """
    run, rise = rank - 1, singular[rank - 1] - singular[0]
    distances = [abs(run * (singular[0] - s) + j * rise) / math.hypot(run, rise) for j, s in enumerate(singular[:rank])]
    return max(range(rank), key=distances.__getitem__) + 1
