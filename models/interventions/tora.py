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

import torch
from torch import Tensor

from models.spec import ToraConfig

_TINY = 1e-12


def space_and_align(tokens_BND: Tensor, direction_BD: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """Apply TORA to each sample on its own.

    tokens_BND: float [B, N, D], any float dtype; direction_BD: float [B, D], the semantic direction (any length);
    valid_BN: bool [B, N], the tokens that take part; the others come back unchanged, as does a sample with fewer than
    three valid tokens. The result has the shape and dtype of `tokens_BND`.
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
    change_BNR = transform((rows_BRD @ rows_BRD.mT).double(), count_B - 1.0 if config.centre else count_B, config)
    changed = torch.baddbmm(tokens, change_BNR.float() * weight_BN1, rows_BRD)
    if tokens_BND.dtype == torch.float16:
        changed = changed.clamp(-65504.0, 65504.0)
    return changed.to(tokens_BND.dtype)


def transform(gram_BRR: Tensor, rank_B: Tensor, config: ToraConfig) -> Tensor:
    """[T - I | z], float64 [B, N, N + 1], with X' - X = (T - I) X + z d^T.

    gram_BRR: float64 [B, N + 1, N + 1], the products of the rows of X and, last, d; rank_B: number of valid tokens,
    less one where their mean was taken off.
    """
    gram_BNN, along_BN1, length_B1 = gram_BRR[:, :-1, :-1], gram_BRR[:, :-1, -1:], gram_BRR[:, -1, -1:]
    values_BN, vectors_BNN = torch.linalg.eigh(gram_BNN)
    values_BN, vectors_BNN = values_BN.flip(-1).clamp_min(0.0), vectors_BNN.flip(-1)
    singular_BN = values_BN.sqrt()
    k_B1 = principal_count(singular_BN, rank_B, config.components)[:, None]
    index_N = torch.arange(gram_BNN.shape[-1], device=gram_BNN.device)
    principal_BN = (index_N < k_B1).double()
    principal_BNN = vectors_BNN * principal_BN[:, None, :]
    project_BNN = principal_BNN @ vectors_BNN.mT
    change_BNN, on_d_BN1 = (config.sigma - 1.0) * project_BNN, torch.zeros_like(along_BN1)
    if config.angle > 0.0:
        # a = X^T p with p = u / s, and d_r = (d - X^T q) / |d - X^T q|.
        lead_B1 = k_B1.clamp_max(gram_BNN.shape[-1] - 1)
        s_B1 = singular_BN.gather(-1, lead_B1)
        u_BN1 = vectors_BNN.gather(-1, lead_B1[:, None, :].expand(-1, gram_BNN.shape[-1], 1))
        q_BN1 = principal_BNN @ ((vectors_BNN.mT @ along_BN1) / values_BN.clamp_min(_TINY)[:, :, None])
        left_over_B1 = (length_B1 - (q_BN1 * along_BN1).sum(1)).clamp_min(0.0)
        on_a_BN1, on_d_BN1, sound_B1 = _rotation(
            u_BN1, s_B1, along_BN1 - project_BNN @ along_BN1, left_over_B1.sqrt(), config.angle
        )
        sound_B1 = sound_B1 & (s_B1 > 1e-6 * singular_BN[:, :1]) & (left_over_B1 > 1e-9 * length_B1)
        sound_B11 = (sound_B1 & (rank_B[:, None] > k_B1))[:, :, None]
        on_d_BN1 = torch.where(sound_B11, on_d_BN1, 0.0)
        turn_BNN = on_a_BN1 @ (u_BN1.mT / s_B1.clamp_min(_TINY)[:, :, None])
        change_BNN = change_BNN + torch.where(sound_B11, turn_BNN, 0.0) - on_d_BN1 @ q_BN1.mT
    enough_B11 = (rank_B + config.centre >= 3)[:, None, None]
    return torch.where(enough_B11, torch.cat([change_BNN, on_d_BN1], dim=-1), 0.0)


def _rotation(
    u_BN1: Tensor, s_B1: Tensor, along_BN1: Tensor, left_over_B1: Tensor, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The change of each row under `share` of the Givens rotation that takes a to d_r: how much of a, how much of
    |d_r| d_r, and whether there is a plane to turn in.

    u_BN1, s_B1: a's left singular vector and singular value; along_BN1: X d_r |d_r|; left_over_B1: |d_r|.
    """
    s_B11, left_over_B11 = s_B1[:, :, None], left_over_B1[:, :, None]
    x_d_BN1 = along_BN1 / left_over_B11.clamp_min(_TINY)
    x_a_BN1 = s_B11 * u_BN1
    cosine_B11 = (u_BN1 * x_d_BN1).sum(1, keepdim=True) / s_B11.clamp_min(_TINY)
    # The singular vector has no sign of its own: it is taken to point along d_r.
    sign_B11 = torch.where(cosine_B11 < 0, -1.0, 1.0)
    x_a_BN1, cosine_B11 = x_a_BN1 * sign_B11, (cosine_B11 * sign_B11).clamp_max(1.0)
    sine_B11 = (1.0 - cosine_B11.square()).sqrt()
    theta_B11 = share * torch.atan2(sine_B11, cosine_B11)
    # w completes a to a basis of the plane; a row x becomes x + f a + g w.
    over_sine_B11 = 1.0 / sine_B11.clamp_min(_TINY)
    x_w_BN1 = (x_d_BN1 - cosine_B11 * x_a_BN1) * over_sine_B11
    turn_B11, lift_B11 = theta_B11.sin(), theta_B11.cos() - 1.0
    f_BN1 = x_a_BN1 * lift_B11 - x_w_BN1 * turn_B11
    g_BN1 = (x_a_BN1 * turn_B11 + x_w_BN1 * lift_B11) * over_sine_B11
    on_a_BN1 = (f_BN1 - g_BN1 * cosine_B11) * sign_B11
    return on_a_BN1, g_BN1 / left_over_B11.clamp_min(_TINY), sine_B11[:, :, 0] > 1e-6


def principal_count(singular_BN: Tensor, rank_B: Tensor, components: int) -> Tensor:
    """Number of principal directions k, int64 [B], 1 <= k <= rank - 1 (0 where the rank is below 2).

    singular_BN: descending; rank_B: how many of them count.

    `components` = 0 applies Maximum Distance to Chord to the curve (j, s_j), j = 1..rank: the chord joins its first and
    last point, and k is the j farthest from it. All points share one chord, so the vertical distance decides.
    """
    rank_B = rank_B.long()
    most_B = (rank_B - 1).clamp_min(0)
    if components > 0:
        return most_B.clamp_max(components)
    index_N = torch.arange(singular_BN.shape[-1], device=singular_BN.device)
    last_B1 = singular_BN.gather(-1, (rank_B - 1).clamp_min(0)[:, None])
    share_BN = index_N[None, :] / (rank_B[:, None] - 1).clamp_min(1)
    away_BN = (singular_BN[:, :1] + (last_B1 - singular_BN[:, :1]) * share_BN - singular_BN).abs()
    away_BN = torch.where(index_N[None, :] < rank_B[:, None], away_BN, -torch.inf)
    return torch.minimum(away_BN.argmax(-1) + 1, most_B)


def semantic_direction(cond_BND: Tensor, uncond_BND: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """d, float32 [B, D], from e_cond - e_uncond over the valid tokens: their mean, or the leading right singular vector
    (of the sign of the mean)."""
    weight_BN = valid_BN.to(torch.float32)
    difference_BND = (cond_BND.float() - uncond_BND.float()) * weight_BN[:, :, None]
    mean_BD = difference_BND.sum(1) / weight_BN.sum(-1, keepdim=True).clamp_min(1.0)
    if config.direction == "mean":
        return mean_BD
    _, vectors_BNN = torch.linalg.eigh((difference_BND @ difference_BND.mT).double())
    leading_BD: Tensor = (vectors_BNN[:, None, :, -1].float() @ difference_BND)[:, 0]
    sign_B1 = torch.where((leading_BD * mean_BD).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return leading_BD * sign_B1
