"""Contextual repulsion (arXiv 2603.28762): pushes the text tokens of a group's samples apart.

A sample is the vector of all its text tokens. The steps stay in the span of the group's vectors (see `ascent`), so the
tokens are read once, for their Gram matrix, and written once: C <- T C.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.interventions.numerics.arrays import NUMPY, TORCH, Array, Arrays
from models.interventions.repulsion.ascent import entropy_ascent
from models.interventions.repulsion.config import RepulsionConfig

_SAME = 1e-12
"""Samples are equal where their squared distances to the mean are below this share of the largest squared norm."""

_ZERO = 1e-5
"""A sample is zero where its squared norm is below this share of the largest: float32 sums are no more accurate."""


def repel(
    tokens_GBND: Tensor, config: RepulsionConfig, total: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    """Push the B samples of each of G groups apart. The result has the shape and dtype of `tokens_GBND`.

    A group of one sample (B = 1) is returned unchanged, and so is one whose samples are equal, or one of which is zero;
    values that are not finite stay so.

    tokens_GBND: float [G, B, N, D], any float dtype.
    config: how far; the caller decides where and when.
    total: sums a tensor over the ranks where each holds a part of the N tokens, as Gram matrices are sums over tokens.
    """
    groups, samples = tokens_GBND.shape[:2]
    if samples == 1 or config.inner_steps == 0 or (config.strength == 0.0 and config.eta == 0.0):
        return tokens_GBND
    flat_GBX = tokens_GBND.reshape(groups, samples, -1)
    flat_GBX = flat_GBX if flat_GBX.dtype == torch.float64 else flat_GBX.float()
    mean_G1X = flat_GBX.mean(dim=1, keepdim=True)
    # Offsets and mean apart: in the first blocks the vectors of a group differ by little, which float32 products of
    # whole vectors would lose.
    rows_GRX = torch.cat([flat_GBX - mean_G1X, mean_G1X], dim=1)
    gram_GRR = total((rows_GRX @ rows_GRX.mT).double())
    exact = flat_GBX.dtype == torch.float64
    move_GBB = displacement(gram_GRR, config.strength, config.eta, config.inner_steps, config.max_displacement, exact)
    change_GBR = torch.cat([move_GBB, move_GBB.sum(dim=-1, keepdim=True)], dim=-1)
    pushed = torch.baddbmm(flat_GBX, change_GBR.to(flat_GBX.dtype), rows_GRX).reshape(tokens_GBND.shape)
    if tokens_GBND.dtype == torch.float16:
        pushed = pushed.clamp(-65504.0, 65504.0)
    return pushed.to(tokens_GBND.dtype)


def displacement(
    gram_GRR: Tensor, strength: float, eta: float, inner_steps: int, max_displacement: float, exact: bool
) -> Tensor:
    """The displacement matrix T - I, float64 [G, B, B], after all steps and the cap.

    gram_GRR: float64 [G, B + 1, B + 1], the inner products of the vectors without their mean and, last, the mean.
    strength, eta, inner_steps, max_displacement: see `RepulsionConfig`.
    exact: see `entropy_ascent`.
    """
    settings = (strength, eta, inner_steps, max_displacement, exact)
    if gram_GRR.device.type != "cpu":
        return _displacement(TORCH, gram_GRR, *settings)
    return torch.from_numpy(_displacement(NUMPY, gram_GRR.numpy(), *settings))


def _displacement(
    xp: Arrays[Array],
    gram_GRR: Array,
    strength: float,
    eta: float,
    inner_steps: int,
    max_displacement: float,
    exact: bool,
) -> Array:
    """`displacement` on the arrays of one library, `xp`."""
    offsets_GBB, cross_GB1 = gram_GRR[:, :-1, :-1], gram_GRR[:, :-1, -1:]
    whole_GBB = offsets_GBB + cross_GB1 + cross_GB1.mT + gram_GRR[:, -1:, -1:]
    spread_GB, square_GB = (xp.diagonal(products_GBB, 0, 1, 2) for products_GBB in (offsets_GBB, whole_GBB))
    most_G = xp.amax(square_GB, -1)
    moves_G = (xp.amin(square_GB, -1) > _ZERO * most_G) & (xp.amax(spread_GB, -1) > _SAME * most_G)
    moves_G11 = moves_G[:, None, None]
    # Groups that are not changed get the identity, whose eigenvalues exist even where their tokens are not finite.
    whole_GBB = xp.where(moves_G11, whole_GBB, xp.tril(xp.triu(xp.ones_like(whole_GBB))))
    scale_G = xp.diagonal(whole_GBB, 0, 1, 2).mean(-1)
    eta_G = scale_G * strength if eta == 0.0 else xp.full_like(scale_G, eta)
    move_GBB = entropy_ascent(whole_GBB, eta_G / inner_steps, inner_steps, exact)
    moved_G = (move_GBB @ whole_GBB * move_GBB).sum(-1).mean(-1)
    shrink_G = xp.clip(max_displacement * xp.sqrt(scale_G / xp.clip(moved_G, 1e-300, None)), None, 1.0)
    return xp.where(moves_G11, move_GBB * shrink_G[:, None, None], 0.0)
