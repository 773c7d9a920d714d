"""Contextual repulsion (arXiv 2603.28762) in closed form: a group's text tokens are driven apart.

Let C be a group's B flattened token vectors, S = C C^T, n_i = sqrt(S_ii), K = S / (n n^T) and K/B = Q diag(l) Q^T. The
entropy H = -sum l log l (the logarithm of the Vendi score) has the gradient dH/dC = A C, with

    G = -Q diag(log l + 1) Q^T / B,   A_ij = 2 G_ij / (n_i n_j) - [i = j] 2 (sum_k G_ik K_ik) / n_i^2.

So an ascent step is C <- W C with W = I + (eta/M) A, and S <- W S W^T: all M steps live in B x B matrices, and the
tokens are read once (their Gram matrix) and written once (C <- T C). No autograd, no approximation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.spec import RepulsionConfig

_SMALLEST_EIGENVALUE = 1e-12
_SAME = 1e-12


def repel(
    tokens_GBND: Tensor, config: RepulsionConfig, total: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    """Push the B samples of each of G groups apart.

    tokens_GBND: float [G, B, N, D], any float dtype; the result has the same shape and dtype. One sample (B = 1) and
    samples that are equal come back unchanged. total: where the N tokens are a part of the text's, the sum over all
    parts of a tensor of this part; Gram matrices are sums over tokens.
    """
    groups, samples = tokens_GBND.shape[:2]
    if samples == 1 or config.inner_steps == 0:
        return tokens_GBND
    flat_GBX = tokens_GBND.reshape(groups, samples, -1).float()
    mean_G1X = flat_GBX.mean(dim=1, keepdim=True)
    offset_GBX = flat_GBX - mean_G1X
    offsets_GBB, whole_GBB = total(torch.stack(gram(mean_G1X, offset_GBX)))
    transform_GBB = ascent(offsets_GBB, whole_GBB, config).float()
    # C + E C with E = T - I, on the mean and the offsets apart: E's rows nearly cancel the mean.
    push_GBX = transform_GBB @ offset_GBX + transform_GBB.sum(dim=-1, keepdim=True) * mean_G1X
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


def ascent(offsets_GBB: Tensor, whole_GBB: Tensor, config: RepulsionConfig) -> Tensor:
    """The displacement matrix E = T - I, float64 [G, B, B], of all M steps on the entropy.

    offsets_GBB, whole_GBB: float64 Gram matrices of the mean-free and of the whole vectors.
    """
    samples = whole_GBB.shape[-1]
    eye = torch.eye(samples, dtype=torch.float64, device=whole_GBB.device)
    scale_G11 = whole_GBB.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eta = config.eta if config.eta > 0 else config.strength * scale_G11
    step = eta / config.inner_steps
    gram_now, transform = whole_GBB, eye.expand_as(whole_GBB)
    for _ in range(config.inner_steps):
        increment = eye + step * _gradient(gram_now)
        gram_now = increment @ gram_now @ increment.mT
        transform = increment @ transform
    displacement = transform - eye
    moved = (displacement @ whole_GBB @ displacement.mT).diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    shrink = (config.max_displacement * scale_G11.sqrt() / moved.clamp_min(1e-300).sqrt()).clamp_max(1.0)
    differs = offsets_GBB.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None] > _SAME * scale_G11
    return torch.where(differs, displacement * shrink, torch.zeros_like(displacement))


def _gradient(whole_GBB: Tensor) -> Tensor:
    """A, with dH/dC = A C."""
    samples = whole_GBB.shape[-1]
    inverse_norm = whole_GBB.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).rsqrt()
    inverse_GBB = inverse_norm[:, :, None] * inverse_norm[:, None, :]
    kernel = whole_GBB * inverse_GBB
    values, vectors = torch.linalg.eigh(kernel / samples)
    weight = -(values.clamp_min(_SMALLEST_EIGENVALUE).log() + 1.0) / samples
    slope = (vectors * weight[:, None, :]) @ vectors.mT
    pull = 2.0 * (slope * kernel).sum(-1) * inverse_norm.square()
    gradient: Tensor = 2.0 * slope * inverse_GBB - torch.diag_embed(pull)
    return gradient
