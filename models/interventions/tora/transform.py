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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.denoising import Tokens
from models.interventions.numerics.eigen import eigh, opaque
from models.interventions.tora.config import ToraConfig

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Taking:
    """What follows from which tokens take part, the same in all blocks and steps of a run. M: places for them.

    read_BMN: float32, takes them out of all tokens, without their mean; mean_B1N: float32, their mean; write_BNM:
    float32, puts them back, or nothing for a sample of rank below 2; rule_BMM: float64, how k is chosen (see
    `_principal`); place_M1: float64, 1 - M to 0.
    """

    read_BMN: Tensor
    mean_B1N: Tensor
    write_BNM: Tensor
    rule_BMM: Tensor
    place_M1: Tensor

    @staticmethod
    def of(tokens: Tokens, config: ToraConfig) -> Taking:
        """Its valid tokens take part."""
        valid_BM, index_BM, places = tokens.valid_BM, tokens.index_BM, tokens.valid_BM.shape[1]
        index_N = torch.arange(tokens.length, device=index_BM.device)
        pick_BMN = ((index_BM[:, :, None] == index_N) & valid_BM[:, :, None]).float()
        count_B11 = valid_BM.sum(-1).float()[:, None, None]
        mean_B1N = pick_BMN.sum(1, keepdim=True) / count_B11.clamp_min(1.0)
        rank_B11 = count_B11 - float(config.centre)
        return Taking(
            read_BMN=pick_BMN - valid_BM[:, :, None] * mean_B1N * config.centre,
            mean_B1N=mean_B1N,
            write_BNM=pick_BMN.mT * (rank_B11 >= 2),
            rule_BMM=rule(rank_B11.double(), places, config.components),
            place_M1=torch.arange(1.0 - places, 1.0, dtype=torch.float64, device=index_BM.device)[:, None],
        )


def rule(rank_B11: Tensor, places: int, components: int) -> Tensor:
    """float64 [B, M, M]: k is the place of the largest entry of |rule @ s|, s being the singular values, ascending.

    `components` = 0 applies Maximum Distance to Chord to the curve (j, s_j), j = 1..rank, s descending: the chord joins
    its first and last point, and k is the j farthest from it. All points share one chord, so the vertical distance
    decides. Otherwise k is `components`, or rank - 1 where that is less.
    """
    j_M = torch.arange(places, dtype=torch.float64, device=rank_B11.device)
    last_B11 = (rank_B11 - 1.0).clamp_min(0.0)
    eye_MM = torch.eye(places, dtype=torch.float64, device=rank_B11.device)
    first_B1M, at_last_B1M = eye_MM[:1], (j_M == last_B11).double()
    if components > 0:
        k_B11 = last_B11.clamp_max(float(components))
        descending_BMM = (j_M[:, None] == k_B11 - 1.0) * first_B1M
    else:
        along_BM1 = j_M[:, None] / last_B11.clamp_min(1.0)
        chord_BMM = first_B1M * (1.0 - along_BM1) + at_last_B1M * along_BM1
        descending_BMM = (eye_MM - chord_BMM) * (j_M[:, None] <= last_B11)
    return descending_BMM.flip(-1)


def space_and_align(tokens_BND: Tensor, direction_BD: Tensor, taking: Taking, config: ToraConfig) -> Tensor:
    """Apply TORA to each sample on its own.

    tokens_BND: float [B, N, D], any float dtype; direction_BD: float [B, D], the semantic direction (any length);
    taking: the tokens that take part; the others come back unchanged, as does a sample with fewer than three that do
    (two where the mean stays in). The result has the shape and dtype of `tokens_BND`.
    """
    if config.sigma == 1.0 and config.angle == 0.0:
        return tokens_BND
    masks = (taking.read_BMN, taking.write_BNM, taking.rule_BMM, taking.place_M1)
    changed = _aligned(tokens_BND.float(), direction_BD.float(), *masks, config.sigma, config.angle)
    if tokens_BND.dtype == torch.float16:
        changed = changed.clamp(-65504.0, 65504.0)
    return changed.to(tokens_BND.dtype)


@opaque("tora", lambda tokens_BND, *_: torch.empty_like(tokens_BND))
def _aligned(
    tokens_BND: Tensor,
    direction_BD: Tensor,
    read_BMN: Tensor,
    write_BNM: Tensor,
    rule_BMM: Tensor,
    place_M1: Tensor,
    sigma: float,
    angle: float,
) -> Tensor:
    arrays: Any = (tokens_BND, direction_BD, read_BMN, write_BNM, rule_BMM, place_M1)
    if tokens_BND.device.type != "cpu":
        result: Tensor = align(torch, eigh, *arrays, sigma=sigma, angle=angle)
        return result
    # Some eighty operations, most on small matrices: numpy's cost a third of torch's at that size.
    in_numpy: Any = [array.numpy() for array in arrays]
    return torch.from_numpy(align(np, np.linalg.eigh, *in_numpy, sigma=sigma, angle=angle))


def align(
    xp: Any,
    eigh: Callable[[Any], tuple[Any, Any]],
    tokens_BND: Any,
    direction_BD: Any,
    read_BMN: Any,
    write_BNM: Any,
    rule_BMM: Any,
    place_M1: Any,
    *,
    sigma: float,
    angle: float,
) -> Any:
    """TORA on the float32 arrays of `xp`, which is torch or numpy. For the rest see `Taking` and `ToraConfig`."""
    # The tokens and the direction in one matrix: one product reads all that is needed, one writes the change.
    rows_BRD = xp.concatenate([read_BMN @ tokens_BND, direction_BD[:, None, :]], 1)
    gram_BRR = _cast(rows_BRD @ rows_BRD.mT, rule_BMM)
    change_BMR = _transform(xp, eigh(gram_BRR[:, :-1, :-1]), gram_BRR, rule_BMM, place_M1, sigma, angle)
    return tokens_BND + write_BNM @ _cast(change_BMR, rows_BRD) @ rows_BRD


def _cast(array: Any, like: Any) -> Any:
    return array.to(like.dtype) if isinstance(array, Tensor) else array.astype(like.dtype)


def _transform(
    xp: Any, eigen: tuple[Any, Any], gram_BRR: Any, rule_BMM: Any, place_M1: Any, sigma: float, angle: float
) -> Any:
    """[T - I | z], float64 [B, M, M + 1], with X' - X = (T - I) X + z d^T.

    gram_BRR: float64 [B, M + 1, M + 1], the products of the rows of X and, last, d; eigen: eigenvalues, ascending, and
    eigenvectors U of X X^T. Vectors along U are columns [B, M, 1], numbers [B, 1, 1].
    """
    values, u = abs(eigen[0])[:, :, None], eigen[1]
    singular = xp.sqrt(values)
    at = place_M1 + principal_count(singular, rule_BMM) - 1.0  # from 0: principal; -1: the next direction, a
    principal, x_a = at >= 0.0, singular * (at == -1.0)

    # d, and d_r = (d - X^T q) / |d - X^T q| with q principal; a = X^T p.
    along, square = u.mT @ gram_BRR[:, :-1, -1:], gram_BRR[:, -1:, -1:]
    along_principal = along * principal
    q = along_principal / (values + _TINY)
    left_over = abs(square - q.mT @ along)
    over = 1.0 / (xp.sqrt(left_over) + _TINY)
    x_d = (along - along_principal) * over
    extent = x_a.mT @ x_a
    cosine = (x_d.mT @ x_a) / (extent + _TINY)
    # The singular vector has no sign of its own: it is taken to point along d_r.
    x_a, cosine = xp.copysign(x_a, cosine), abs(cosine)
    p = x_a / (extent + _TINY)

    # A row x turns by theta in the plane of a and d_r: it becomes x + on_a a + on_d d_r, with coefficients that stay
    # finite as the two become one.
    sine = xp.sqrt(abs(1.0 - cosine * cosine))
    half_theta = 0.5 * angle * xp.arctan2(sine, cosine)
    sound = (extent > 1e-12 * values[:, -1:]) & (left_over > 1e-9 * square)
    half = sound * xp.sin(half_theta) / (sine + _TINY)
    turn, lift = 2.0 * half * xp.cos(half_theta), -2.0 * half * half
    mixed = lift * cosine
    on_a = lift * x_a - (mixed + turn) * x_d
    on_d = (lift * x_d - (mixed - turn) * x_a) * over

    change = (on_a * p.mT - on_d * q.mT) @ u.mT + (sigma - 1.0) * (principal * u.mT)
    return u @ xp.concatenate([change, on_d], -1)


def principal_count(singular_BM1: Any, rule_BMM: Any) -> Any:
    """Number of principal directions k, int [B, 1, 1]. singular_BM1: ascending; rule_BMM: see `rule`."""
    return abs(rule_BMM @ singular_BM1).argmax(1)[:, :, None] + 1


def semantic_direction(cond_BND: Tensor, uncond_BND: Tensor, taking: Taking, config: ToraConfig) -> Tensor:
    """d, float32 [B, D], from e_cond - e_uncond over the tokens that take part: their mean, or the leading right
    singular vector (of the sign of the mean)."""
    difference_BND = cond_BND.float() - uncond_BND.float()
    mean_BD = taking.mean_B1N.bmm(difference_BND)[:, 0]
    if config.direction != "leading":
        return mean_BD
    difference_BMD = taking.write_BNM.mT @ difference_BND
    _, vectors_BMM = eigh((difference_BMD @ difference_BMD.mT).double())
    leading_BD: Tensor = (vectors_BMM[:, None, :, -1].float() @ difference_BMD)[:, 0]
    sign_B1 = torch.where((leading_BD * mean_BD).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return leading_BD * sign_B1
