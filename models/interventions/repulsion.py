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
    # Offsets and mean apart: whole vectors of a group differ by little in the first blocks, and what pushes them apart
    # nearly cancels the mean.
    rows_GRX = torch.cat([flat_GBX - mean_G1X, mean_G1X], dim=1)
    gram_GRR = total((rows_GRX @ rows_GRX.mT).double())
    move_GBB = displacement(gram_GRR, config, exact=flat_GBX.dtype == torch.float64)
    change_GBR = torch.cat([move_GBB, move_GBB.sum(dim=-1, keepdim=True)], dim=-1)
    pushed = torch.baddbmm(flat_GBX, change_GBR.to(flat_GBX.dtype), rows_GRX).reshape(tokens_GBND.shape)
    if tokens_GBND.dtype == torch.float16:
        pushed = pushed.clamp(-65504.0, 65504.0)
    return pushed.to(tokens_GBND.dtype)


def displacement(gram_GRR: Tensor, config: RepulsionConfig, *, exact: bool) -> Tensor:
    """T - I, float64 [G, B, B], after all steps and the cap.

    gram_GRR: float64 [G, B + 1, B + 1], the products of the vectors without their mean and, last, the mean; exact: as
    in `entropy_ascent`.
    """
    offsets_GBB, cross_GB1 = gram_GRR[:, :-1, :-1], gram_GRR[:, :-1, -1:]
    whole_GBB = offsets_GBB + cross_GB1 + cross_GB1.mT + gram_GRR[:, -1:, -1:]
    scale_G = whole_GBB.diagonal(dim1=-2, dim2=-1).mean(-1)
    differs_G = offsets_GBB.diagonal(dim1=-2, dim2=-1).amax(-1) > _SAME * scale_G
    eta_G = scale_G * config.strength if config.eta == 0.0 else torch.full_like(scale_G, config.eta)
    move_GBB = entropy_ascent(whole_GBB, eta_G / config.inner_steps, config.inner_steps, exact)
    moved_G = (move_GBB @ whole_GBB * move_GBB).sum(-1).mean(-1)
    shrink_G = (config.max_displacement * (scale_G / moved_G.clamp_min(1e-300)).sqrt()).clamp_max(1.0)
    return torch.where(differs_G[:, None, None], move_GBB * shrink_G[:, None, None], 0.0)
