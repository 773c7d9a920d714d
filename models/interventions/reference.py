"""Both methods as their papers write them, one sample and one step at a time: what tests compare with, and what the
benchmark measures against. Each works in the dtype that it is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.spec import RepulsionConfig, ToraConfig


def repel_by_autograd(tokens_GBND: Tensor, config: RepulsionConfig) -> Tensor:
    """Contextual repulsion by M steps of automatic differentiation, without the cap on the displacement."""
    with torch.inference_mode(False), torch.enable_grad():
        pushed = [_repel_group(group.clone().flatten(1), config) for group in tokens_GBND]
    return torch.stack(pushed).reshape(tokens_GBND.shape).to(tokens_GBND.dtype)


def _repel_group(vectors_BX: Tensor, config: RepulsionConfig) -> Tensor:
    eta = config.eta or config.strength * float(vectors_BX.square().sum(-1).mean())
    for _ in range(config.inner_steps):
        vectors_BX = vectors_BX.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(entropy(vectors_BX), vectors_BX)
        vectors_BX = vectors_BX.detach() + eta / config.inner_steps * gradient
    return vectors_BX


def entropy(vectors_BX: Tensor) -> Tensor:
    """H = -sum l log l over the eigenvalues l of the cosine similarities divided by B."""
    norm = vectors_BX.norm(dim=-1)
    values = torch.linalg.eigvalsh(vectors_BX @ vectors_BX.T / (norm[:, None] * norm[None]) / len(vectors_BX))
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    result: Tensor = -(values * values.log()).sum()
    return result


def align_by_svd(tokens_BND: Tensor, direction_BD: Tensor, valid_BN: Tensor, config: ToraConfig) -> Tensor:
    """TORA by a full singular value decomposition of each sample."""
    result = tokens_BND.clone()
    for row, valid_N in enumerate(valid_BN):
        count = int(valid_N.sum())
        if count >= 3:
            result[row, valid_N] = _align_sample(tokens_BND[row, valid_N], direction_BD[row], config)
    return result


def _align_sample(tokens_ND: Tensor, direction_D: Tensor, config: ToraConfig) -> Tensor:
    mean = tokens_ND.mean(0) * config.centre
    centred = tokens_ND - mean
    _, singular, right = torch.linalg.svd(centred, full_matrices=False)
    rank = len(tokens_ND) - config.centre
    k = min(config.components or elbow(singular.tolist(), rank), rank - 1)
    principal = right[:k]
    inside = centred @ principal.T @ principal
    outside = centred - inside
    target = direction_D - principal.T @ (principal @ direction_D)
    target = target / target.norm()
    leading = right[k] * torch.sign(right[k] @ target)
    angle = torch.acos(leading @ target) * config.angle
    across = target - (leading @ target) * leading
    across = across / across.norm()
    along_leading, along_across = outside @ leading, outside @ across
    turned = (
        outside
        + torch.outer(along_leading, (angle.cos() - 1) * leading + angle.sin() * across)
        + torch.outer(along_across, (angle.cos() - 1) * across - angle.sin() * leading)
    )
    result: Tensor = mean + config.sigma * inside + turned
    return result


def elbow(singular: list[float], rank: int) -> int:
    """Maximum Distance to Chord: the point (j, s_j) farthest from the line through the first and the last one, by the
    textbook distance of a point to a line."""
    run, rise = rank - 1, singular[rank - 1] - singular[0]
    distances = [abs(run * (singular[0] - s) + j * rise) / math.hypot(run, rise) for j, s in enumerate(singular[:rank])]
    return max(range(rank), key=distances.__getitem__) + 1
