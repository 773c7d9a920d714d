"""Contextual repulsion (arXiv 2603.28762): the text tokens of a group's samples are driven apart.

A sample is the vector of all its text tokens. The steps stay in the span of the group's vectors (see `ascent`), so the
tokens are read once, for their Gram matrix, and written once: C <- T C.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.interventions.ascent import entropy_ascent
from models.spec import RepulsionConfig

_SAME = 1e-12


def repel(
    tokens_GBND: Tensor, config: RepulsionConfig, total: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    """Push the B samples of each of G groups apart.

    tokens_GBND: float [G, B, N, D], any float dtype; the result has the same shape and dtype. One sample (B = 1) and
    samples that are equal come back unchanged. total: where the N tokens are a part of the text's, the sum over all
    parts of a tensor of this part: Gram matrices are sums over tokens.
    """
    groups, samples = tokens_GBND.shape[:2]
    if samples == 1 or config.inner_steps == 0 or (config.strength == 0.0 and config.eta == 0.0):
        return tokens_GBND
    flat_GBX = tokens_GBND.reshape(groups, samples, -1)
    flat_GBX = flat_GBX if flat_GBX.dtype == torch.float64 else flat_GBX.float()
    mean_G1X = flat_GBX.mean(dim=1, keepdim=True)
    offset_GBX = flat_GBX - mean_G1X
    offsets_GBB, whole_GBB = total(torch.stack(gram(mean_G1X, offset_GBX)))
    move_GBB = displacement(offsets_GBB, whole_GBB, config, exact=flat_GBX.dtype == torch.float64)
    # On mean and offsets apart: rows that push near-identical samples are large, and nearly cancel the mean.
    along_mean_GB1 = move_GBB.sum(dim=-1, keepdim=True).to(flat_GBX.dtype)
    push_GBX = torch.baddbmm(along_mean_GB1 * mean_G1X, move_GBB.to(flat_GBX.dtype), offset_GBX)
    pushed = (flat_GBX + push_GBX).reshape(tokens_GBND.shape)
    if tokens_GBND.dtype == torch.float16:
        pushed = pushed.clamp(-65504.0, 65504.0)
    return pushed.to(tokens_GBND.dtype)


def gram(mean_G1X: Tensor, offset_GBX: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrices float64 [G, B, B] of the offsets and of the whole vectors (mean + offset).

    Whole vectors of a group differ by little in the first blocks, so the products are taken of mean and offsets apart.
    """
    offsets = (offset_GBX @ offset_GBX.mT).double()
    cross = (offset_GBX @ mean_G1X.mT).double()
    base = (mean_G1X @ mean_G1X.mT).double()
    return offsets, offsets + cross + cross.mT + base


def displacement(offsets_GBB: Tensor, whole_GBB: Tensor, config: RepulsionConfig, *, exact: bool) -> Tensor:
    """T - I, float64 [G, B, B], after all steps and the cap.

    offsets_GBB, whole_GBB: float64 Gram matrices of the mean-free and of the whole vectors; exact: as in
    `entropy_ascent`.
    """
    scale_G = whole_GBB.diagonal(dim1=-2, dim2=-1).mean(-1)
    differs_G = offsets_GBB.diagonal(dim1=-2, dim2=-1).amax(-1) > _SAME * scale_G
    eta_G = scale_G * config.strength if config.eta == 0.0 else torch.full_like(scale_G, config.eta)
    move_GBB = entropy_ascent(whole_GBB, eta_G / config.inner_steps, config.inner_steps, exact)
    moved_G = (move_GBB @ whole_GBB * move_GBB).sum(-1).mean(-1)
    shrink_G = (config.max_displacement * (scale_G / moved_G.clamp_min(1e-300)).sqrt()).clamp_max(1.0)
    return torch.where(differs_G[:, None, None], move_GBB * shrink_G[:, None, None], 0.0)
