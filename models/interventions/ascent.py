"""M steps of gradient ascent on the entropy of a group's cosine similarities, inside the span of the group.

Let C be a group's B vectors, n_i = |c_i|, U the unit vectors, K = U U^T and K/B = Q diag(l) Q^T. The entropy
H = -sum l log l (the logarithm of the Vendi score) has the gradient

    dH/dc_i = -(2 / (B n_i)) [L U - diag(L K) U]_i,   L = log(K/B)

(contextual repulsion, arXiv 2603.28762, section 4; the bracket is the part of L U at right angles to u_i, so a constant
may be added to L). The gradient lies in the span of C. So all steps are taken on the B coordinates of each vector in
that span, and one matrix T with C_M = T C is the result: no autograd, no pass over the tokens, no approximation.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SMALLEST_EIGENVALUE = 1e-12
"""Of K, whose largest is between 1 and B. Below it two vectors are equal as far as float64 can tell."""


@torch.library.custom_op("raydiance::entropy_ascent", mutates_args=())
def entropy_ascent(gram_GBB: Tensor, step_G: Tensor, inner_steps: int) -> Tensor:
    """The displacement matrix T - I, float64 [G, B, B], of `inner_steps` steps of length step_G * dH/dC.

    gram_GBB: float64 Gram matrices C C^T, none with a zero vector; step_G: float64, eta / M of each group.
    """
    # One step is some fifteen operations on B x B matrices, and numpy's cost a third of torch's at that size.
    gram, step = gram_GBB.numpy(force=True), step_G.numpy(force=True)
    values, vectors = np.linalg.eigh(gram)
    scale = np.sqrt(np.maximum(values, 0.0))
    coordinates = vectors * scale[:, None, :]
    _ascend(coordinates, step * (-2.0 / gram.shape[-1]), inner_steps)
    known = values > _SMALLEST_EIGENVALUE * values[:, -1:]
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=known)
    transform = (coordinates * inverse[:, None, :]) @ vectors.mT
    # Directions in which the group has no extent stay as they are.
    transform -= (vectors * known[:, None, :]) @ vectors.mT
    return torch.from_numpy(transform).to(gram_GBB.device)


@entropy_ascent.register_fake
def _(gram_GBB: Tensor, step_G: Tensor, inner_steps: int) -> Tensor:
    return torch.empty_like(gram_GBB)


def _ascend(c_GBB: NDArray[np.float64], factor_G: NDArray[np.float64], inner_steps: int) -> None:
    """Move the coordinates `c_GBB` (rows are vectors) in place. factor_G: -2 / B * step."""
    norm_GB1, pull_GB = np.empty((*c_GBB.shape[:2], 1)), np.empty(c_GBB.shape[:2])
    unit_GBB, kernel_GBB, log_GBB, push_GBB = (np.empty_like(c_GBB) for _ in range(4))
    log_diagonal_GB = np.einsum("gii->gi", log_GBB)
    factor_GB1 = factor_G[:, None, None]
    for _ in range(inner_steps):
        np.vecdot(c_GBB, c_GBB, out=norm_GB1[:, :, 0])
        np.sqrt(norm_GB1, out=norm_GB1)
        np.divide(c_GBB, norm_GB1, out=unit_GBB)
        np.matmul(unit_GBB, unit_GBB.mT, out=kernel_GBB)
        values_GB, vectors_GBB = np.linalg.eigh(kernel_GBB)
        np.log(np.maximum(values_GB, _SMALLEST_EIGENVALUE, out=values_GB), out=values_GB)
        np.multiply(vectors_GBB, values_GB[:, None, :], out=push_GBB)
        np.matmul(push_GBB, vectors_GBB.mT, out=log_GBB)
        log_diagonal_GB -= np.vecdot(log_GBB, kernel_GBB, out=pull_GB)
        np.matmul(log_GBB, unit_GBB, out=push_GBB)
        push_GBB *= np.divide(factor_GB1, norm_GB1, out=norm_GB1)
        c_GBB += push_GBB
