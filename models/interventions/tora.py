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
    weight_BN = valid_BN.to(torch.float32)
    count_B = weight_BN.sum(-1)
    tokens = tokens_BND.float()
    direction_BD = direction_BD.float()
    mean_B1D = (weight_BN[:, None, :] @ tokens) / count_B.clamp_min(1.0)[:, None, None]
    centred_BND = (tokens - mean_B1D) * weight_BN[:, :, None]
    gram_BNN = (centred_BND @ centred_BND.mT).double()
    along_BN = (centred_BND @ direction_BD[:, :, None])[..., 0].double()
    length_B = direction_BD.square().sum(-1).double()
    left_BNN, rank_one_BN = transform(gram_BNN, along_BN, length_B, count_B, config)
    change = left_BNN.float() @ centred_BND + rank_one_BN.float()[:, :, None] * direction_BD[:, None, :]
    changed = tokens + change * weight_BN[:, :, None]
    if tokens_BND.dtype == torch.float16:
        changed = changed.clamp(-65504.0, 65504.0)
    return changed.to(tokens_BND.dtype)


def transform(
    gram_BNN: Tensor, along_BN: Tensor, length_B: Tensor, count_B: Tensor, config: ToraConfig
) -> tuple[Tensor, Tensor]:
    """The change of X as (T - I) float64 [B, N, N] and z float64 [B, N]: X' - X = (T - I) X + z d^T.

    gram_BNN: X X^T; along_BN: X d; length_B: |d|^2; count_B: number of valid tokens.
    """
    values_BN, vectors_BNN = torch.linalg.eigh(gram_BNN)
    values_BN, vectors_BNN = values_BN.flip(-1).clamp_min(0.0), vectors_BNN.flip(-1)
    singular_BN = values_BN.sqrt()
    k_B = principal_count(singular_BN, count_B, config.components)
    index_N = torch.arange(gram_BNN.shape[-1], device=gram_BNN.device)
    principal_BN = (index_N[None, :] < k_B[:, None]).double()
    project_BNN = (vectors_BNN * principal_BN[:, None, :]) @ vectors_BNN.mT
    spacing_BNN = (config.sigma - 1.0) * project_BNN

    # a = X^T p with p = u / s, and d_r = (d - X^T q) / |d - X^T q|, both as coefficients on the rows of X.
    lead_B1 = k_B[:, None].clamp_max(gram_BNN.shape[-1] - 1)
    lead_s_B1 = singular_BN.gather(-1, lead_B1)
    lead_u_BN = vectors_BNN.gather(-1, lead_B1[:, None, :].expand(-1, gram_BNN.shape[-1], 1))[..., 0]
    inside_BN = (vectors_BNN.mT @ along_BN[..., None])[..., 0] * principal_BN / values_BN.clamp_min(_TINY)
    q_BN = (vectors_BNN @ inside_BN[..., None])[..., 0]
    left_over_B1 = (length_B - (q_BN * along_BN).sum(-1)).clamp_min(0.0).sqrt()[:, None]
    residual_along_BN = along_BN - (project_BNN @ along_BN[..., None])[..., 0]
    x_d_BN = residual_along_BN / left_over_B1.clamp_min(_TINY)
    x_a_BN = lead_s_B1 * lead_u_BN
    cosine_B1 = (lead_u_BN * x_d_BN).sum(-1, keepdim=True) / lead_s_B1.clamp_min(_TINY)
    sign_B1 = torch.where(cosine_B1 < 0, -1.0, 1.0)
    x_a_BN, cosine_B1 = x_a_BN * sign_B1, (cosine_B1 * sign_B1).clamp(0.0, 1.0)
    sine_B1 = (1.0 - cosine_B1.square()).sqrt()

    # w completes a to a basis of the plane; a row x turns by the angle theta: x + f a + g w.
    theta_B1 = config.angle * torch.atan2(sine_B1, cosine_B1)
    x_w_BN = (x_d_BN - cosine_B1 * x_a_BN) / sine_B1.clamp_min(_TINY)
    f_BN = x_a_BN * (theta_B1.cos() - 1.0) - x_w_BN * theta_B1.sin()
    g_BN = x_a_BN * theta_B1.sin() + x_w_BN * (theta_B1.cos() - 1.0)
    spectrum_top_B1 = singular_BN[:, :1]
    sound_B1 = (
        (lead_s_B1 > 1e-6 * spectrum_top_B1)
        & (left_over_B1.square() > 1e-9 * length_B[:, None])
        & (sine_B1 > 1e-6)
        & (count_B[:, None] - 1 > k_B[:, None])
    )
    on_a_BN = torch.where(sound_B1, f_BN - g_BN * cosine_B1 / sine_B1.clamp_min(_TINY), 0.0)
    on_d_BN = torch.where(sound_B1, g_BN / (sine_B1 * left_over_B1).clamp_min(_TINY), 0.0)
    p_BN = sign_B1 * lead_u_BN / lead_s_B1.clamp_min(_TINY)
    alignment_BNN = on_a_BN[:, :, None] * p_BN[:, None, :] - on_d_BN[:, :, None] * q_BN[:, None, :]
    enough_B1 = count_B[:, None] >= 3
    return (
        torch.where(enough_B1[..., None], spacing_BNN + alignment_BNN, 0.0),
        torch.where(enough_B1, on_d_BN, 0.0),
    )


def principal_count(singular_BN: Tensor, count_B: Tensor, components: int) -> Tensor:
    """Number of principal directions k, int64 [B], 1 <= k <= rank - 1 (0 where the rank is below 2).

    `components` = 0 applies Maximum Distance to Chord to the curve (j, s_j), j = 1..rank: the chord joins its first and
    last point, and k is the j farthest from it. All points share one chord, so the vertical distance decides.
    """
    rank_B = count_B.long() - 1
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
