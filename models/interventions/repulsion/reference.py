"""Contextual repulsion as its paper (arXiv 2603.28762) writes it, one step at a time and in the dtype of its tokens: a
reference for the tests, and a baseline for the benchmark."""

from __future__ import annotations

import torch
from torch import Tensor

from models.interventions.repulsion.config import RepulsionConfig


def repel_by_autograd(tokens_GBND: Tensor, config: RepulsionConfig) -> Tensor:
    """Contextual repulsion by M steps of automatic differentiation, without the cap on the displacement.

    tokens_GBND: float [G, B, N, D].
    config: the settings.
    """
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
    """The entropy H = -sum l log l over the eigenvalues l of the cosine similarities divided by B, a scalar.

    vectors_BX: float [B, X].
    """
    norm = vectors_BX.norm(dim=-1)
    values = torch.linalg.eigvalsh(vectors_BX @ vectors_BX.T / (norm[:, None] * norm[None]) / len(vectors_BX))
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    result: Tensor = -(values * values.log()).sum()
    return result
