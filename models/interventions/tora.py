"""TORA (arXiv 2510.03886): Token Spacing and Residual Alignment of a sample's text tokens.

With X the mean-free tokens (N x D), X = U S V^T:
  spacing    the k principal singular values are multiplied by sigma; k is the elbow of the singular values (Maximum
             Distance to Chord) unless it is given;
  alignment  the part of X outside the principal space is turned by the Givens rotation in the plane of a = v_(k+1) and
             d_r, the semantic direction without its principal part, that takes a to d_r.

Both act on X from the left apart from one rank-one term in d, so that everything follows from the N x N Gram matrix:
X' = T X + z d^T. The tokens are read once (Gram) and written once; no D x D or N x D factorisation is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.interventions.eigen import eigh
from models.spec import ToraConfig

_TINY = 1e-12


def space_and_align(tokens_BND: Tensor, direction_BD: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """Apply TORA to each sample on its own.

    tokens_BND: float [B, N, D], any float dtype; direction_BD: float [B, D], the semantic direction (any length);
    valid_BN: bool [B, N], the tokens that take part; the others come back unchanged, as does a sample with fewer than
    three valid tokens (two where the mean stays in). The result has the shape and dtype of `tokens_BND`.
    """
    if config.sigma == 1.0 and config.angle == 0.0:
        return tokens_BND
    tokens = tokens_BND.float()
    weight_BN1 = valid_BN.to(torch.float32)[:, :, None]
    count_B = weight_BN1.sum((1, 2))
    taking_part = tokens * weight_BN1
    if config.centre:
        mean_B1D = taking_part.sum(1, keepdim=True) / count_B.clamp_min(1.0)[:, None, None]
        taking_part = taking_part - mean_B1D * weight_BN1
    # The tokens and the direction in one matrix: one product reads all that is needed, one writes the change.
    rows_BRD = torch.cat([taking_part, direction_BD[:, None, :].float()], dim=1)
    rank_B = (count_B - float(config.centre)).double()
    change_BNR = transform((rows_BRD @ rows_BRD.mT).double(), rank_B, config.sigma, config.components, config.angle)
    changed = torch.baddbmm(tokens, change_BNR.float() * weight_BN1, rows_BRD)
    if tokens_BND.dtype == torch.float16:
        changed = changed.clamp(-65504.0, 65504.0)
    return changed.to(tokens_BND.dtype)


@torch.library.custom_op("raydiance::tora_transform", mutates_args=())
def transform(gram_BRR: Tensor, rank_B: Tensor, sigma: float, components: int, angle: float) -> Tensor:
    """[T - I | z], float64 [B, N, N + 1], with X' - X = (T - I) X + z d^T; 0 for a sample of rank below 2.

    gram_BRR: float64 [B, N + 1, N + 1], the products of the rows of X and, last, d; rank_B: float64 [B], number of
    valid tokens, less one where their mean was taken off; sigma, components, angle: see `ToraConfig`.
    """
    if gram_BRR.device.type != "cpu":
        eigen = eigh(gram_BRR[:, :-1, :-1])
        result: Tensor = _transform(torch, eigen, gram_BRR, rank_B, sigma, components, angle)
        return result
    # Some forty operations on small matrices: numpy's cost a third of torch's at that size.
    gram, rank = gram_BRR.numpy(), rank_B.numpy()
    return torch.from_numpy(_transform(np, np.linalg.eigh(gram[:, :-1, :-1]), gram, rank, sigma, components, angle))


@transform.register_fake
def _(gram_BRR: Tensor, rank_B: Tensor, sigma: float, components: int, angle: float) -> Tensor:
    return torch.empty_like(gram_BRR[:, :-1])


def _transform(
    xp: Any, eigen: tuple[Any, Any], gram_BRR: Any, rank_B: Any, sigma: float, components: int, angle: float
) -> Any:
    """`transform` on the arrays of `xp`, which is torch or numpy, in coordinates along the left singular vectors U.

    eigen: eigenvalues, ascending, and eigenvectors of X X^T.
    """
    values_BN, u_BNN = eigen
    values_BN = xp.clip(values_BN, 0.0, None)
    singular_BN = xp.sqrt(values_BN)
    rank_B1, tokens = rank_B[:, None], values_BN.shape[-1]
    k_B1 = _principal_count(xp, singular_BN, rank_B1, components)
    ones_BN = xp.ones_like(values_BN)
    place_BN = xp.cumsum(ones_BN, -1) + k_B1 - tokens  # above 0: principal; 0: the next direction, a
    principal_BN, lead_BN = ones_BN * (place_BN > 0), ones_BN * (place_BN == 0)

    # d, and d_r = (d - X^T q) / |d - X^T q| with q principal; a = X^T p with p = u / s.
    along_BN = (u_BNN.mT @ gram_BRR[:, :-1, -1:])[:, :, 0]
    length_B1 = gram_BRR[:, -1, -1:]
    q_BN = along_BN * principal_BN / xp.clip(values_BN, _TINY, None)
    left_over_B1 = xp.sqrt(xp.clip(length_B1 - (q_BN * along_BN).sum(-1)[:, None], 0.0, None))
    x_d_BN = along_BN * (1.0 - principal_BN) / xp.clip(left_over_B1, _TINY, None)
    s_B1 = (singular_BN * lead_BN).sum(-1)[:, None]
    cosine_B1 = (x_d_BN * lead_BN).sum(-1)[:, None] / xp.clip(s_B1, _TINY, None)
    # The singular vector has no sign of its own: it is taken to point along d_r.
    lead_BN = lead_BN * (1.0 - 2.0 * (cosine_B1 < 0))
    x_a_BN, cosine_B1 = lead_BN * s_B1, xp.clip(abs(cosine_B1), 0.0, 1.0)
    sine_B1 = xp.sqrt(1.0 - cosine_B1**2)

    # w completes a to a basis of the plane; a row x turns by theta and becomes x + f a + g w.
    theta_B1 = angle * xp.arctan2(sine_B1, cosine_B1)
    turn_B1, lift_B1 = xp.sin(theta_B1), xp.cos(theta_B1) - 1.0
    over_sine_B1 = 1.0 / xp.clip(sine_B1, _TINY, None)
    x_w_BN = (x_d_BN - cosine_B1 * x_a_BN) * over_sine_B1
    g_BN = (x_a_BN * turn_B1 + x_w_BN * lift_B1) * over_sine_B1
    on_a_BN = x_a_BN * lift_B1 - x_w_BN * turn_B1 - g_BN * cosine_B1
    sound_B1 = (sine_B1 > 1e-6) & (s_B1 > 1e-6 * singular_BN[:, -1:]) & (left_over_B1**2 > 1e-9 * length_B1)
    sound_B1 = 1.0 * (sound_B1 & (rank_B1 > k_B1) & (angle > 0.0))
    on_d_BN = g_BN * sound_B1 / xp.clip(left_over_B1, _TINY, None)
    p_BN = lead_BN * sound_B1 / xp.clip(s_B1, _TINY, None)

    change_BNN = on_a_BN[:, :, None] * p_BN[:, None, :] - on_d_BN[:, :, None] * q_BN[:, None, :]
    change_BNN = u_BNN @ change_BNN @ u_BNN.mT + (u_BNN * ((sigma - 1.0) * principal_BN)[:, None, :]) @ u_BNN.mT
    both_BNR = xp.concatenate([change_BNN, u_BNN @ on_d_BN[:, :, None]], -1)
    return both_BNR * (1.0 * (rank_B1 >= 2))[:, :, None]


def principal_count(singular_BN: Tensor, rank_B: Tensor, components: int) -> Tensor:
    """Number of principal directions k, float [B], 1 <= k <= rank - 1 (0 where the rank is below 2).

    singular_BN: ascending; rank_B: how many of them, from the end, count.

    `components` = 0 applies Maximum Distance to Chord to the curve (j, s_j), j = 1..rank, s descending: the chord joins
    its first and last point, and k is the j farthest from it. All points share one chord, so the vertical distance
    decides.
    """
    result: Tensor = _principal_count(torch, singular_BN, rank_B[:, None], components)[:, 0]
    return result


def _principal_count(xp: Any, singular_BN: Any, rank_B1: Any, components: int) -> Any:
    most_B1 = xp.clip(rank_B1 - 1.0, 0.0, None)
    if components > 0:
        return xp.clip(most_B1, 0.0, float(components))
    descending_BN = xp.flip(singular_BN, (-1,))
    index_BN = xp.cumsum(xp.ones_like(singular_BN), -1) - 1.0
    last_B1 = (descending_BN * (index_BN == most_B1)).sum(-1)[:, None]
    chord_BN = descending_BN[:, :1] + (last_B1 - descending_BN[:, :1]) * index_BN / xp.clip(most_B1, 1.0, None)
    away_BN = xp.where(index_BN > most_B1, -1.0, abs(chord_BN - descending_BN))
    return xp.minimum(away_BN.argmax(-1)[:, None] + 1.0, most_B1)


def semantic_direction(cond_BND: Tensor, uncond_BND: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """d, float32 [B, D], from e_cond - e_uncond over the valid tokens: their mean, or the leading right singular vector
    (of the sign of the mean)."""
    weight_BN = valid_BN.to(torch.float32)
    difference_BND = (cond_BND.float() - uncond_BND.float()) * weight_BN[:, :, None]
    mean_BD = difference_BND.sum(1) / weight_BN.sum(-1, keepdim=True).clamp_min(1.0)
    if config.direction == "mean":
        return mean_BD
    _, vectors_BNN = eigh((difference_BND @ difference_BND.mT).double())
    leading_BD: Tensor = (vectors_BNN[:, None, :, -1].float() @ difference_BND)[:, 0]
    sign_B1 = torch.where((leading_BD * mean_BD).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return leading_BD * sign_B1
