"""M steps of gradient ascent on the entropy of a group's cosine similarities, inside the span of the group.

Let C be a group's B vectors, n_i = |c_i|, U the unit vectors, K = U U^T and K/B = Q diag(l) Q^T. The entropy
H = -sum l log l (the logarithm of the Vendi score) has the gradient

    dH/dc_i = -(2 / (B n_i)) [L U - diag(L K) U]_i,   L = log(K/B)

(contextual repulsion, arXiv 2603.28762, section 4; the bracket is the part of L U at right angles to u_i, so a constant
may be added to L). The gradient lies in the span of C, so all steps act on the B coordinates of each vector in that
span, and their result is one matrix T with C_M = T C: no autograd, and no pass over the tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.interventions.numerics.arrays import Array
from models.interventions.numerics.eigen import eigh, gpu_kernels
from models.interventions.repulsion import leaps

Floats = NDArray[np.float64]

_TOLERANCE = 3e-5
"""Largest error of an inexact result, relative to the largest displacement. `leaps` overestimates it several times."""

_SMALLEST_EIGENVALUE = 1e-12
"""Lower bound on the eigenvalues of K, whose largest is between 1 and B. Vectors below it are equal in float64."""


def entropy_ascent(gram_GBB: Array, step_G: Array, inner_steps: int, exact: bool) -> Array:
    """The displacement matrix T - I, float64 [G, B, B], of `inner_steps` steps of length step_G * dH/dC.

    gram_GBB: float64 [G, B, B], Gram matrices C C^T, none with a zero vector.
    step_G: float64 [G], eta / M of each group.
    inner_steps: M, 1 or more.
    exact: take every step; otherwise steps may be taken together where the gradient changes smoothly (see `leaps`),
        with an error below 3e-5 of the largest displacement.
    """
    find: Any = eigh if isinstance(gram_GBB, Tensor) else np.linalg.eigh
    values_GB, vectors_GBB = find(gram_GBB)
    scale_GB = abs(values_GB) ** 0.5
    start_GBB, factor_G = vectors_GBB * scale_GB[:, None, :], step_G * (-2.0 / gram_GBB.shape[-1])
    end_GBB = _ascend(start_GBB, factor_G, inner_steps, exact=exact)
    known_GB = values_GB > _SMALLEST_EIGENVALUE * values_GB[:, -1:]
    inverse_GB = known_GB / (scale_GB + ~known_GB)
    # Directions in which the group has no extent stay as they are.
    moved_GBB: Array = (end_GBB * inverse_GB[:, None, :] - vectors_GBB * known_GB[:, None, :]) @ vectors_GBB.mT
    return moved_GBB


def _ascend(start_GBB: Array, factor_G: Array, inner_steps: int, *, exact: bool) -> Array:
    """The coordinates (rows are vectors) after all steps. On a GPU, groups of more than 128 samples go to the CPU, for
    which the host waits in every block.

    factor_G: -2 / B * step.
    """
    if not isinstance(start_GBB, Tensor):
        return _ascend_in_numpy(start_GBB, factor_G, inner_steps, exact=exact)
    kernels = gpu_kernels(start_GBB.device, start_GBB.shape[-1])
    if kernels is not None:
        on_device_GBB: Tensor = kernels.ascend(start_GBB, factor_G, inner_steps, _SMALLEST_EIGENVALUE)
        return on_device_GBB
    end_GBB = _ascend_in_numpy(start_GBB.numpy(force=True), factor_G.numpy(force=True), inner_steps, exact=exact)
    return torch.from_numpy(end_GBB).to(start_GBB.device)


def _ascend_in_numpy(start_GBB: Floats, factor_G: Floats, inner_steps: int, *, exact: bool) -> Floats:
    increment = _Increment(start_GBB.shape, factor_G)
    if exact or inner_steps < leaps.FEWEST_STEPS:
        return _one_by_one(start_GBB, increment, inner_steps)
    end_GBB, error_G = leaps.leap(start_GBB, increment, inner_steps)
    rough_G = ~(error_G <= _TOLERANCE * np.abs(end_GBB - start_GBB).max(axis=(1, 2)))
    if rough_G.any():
        rough = start_GBB[rough_G]
        end_GBB[rough_G] = _one_by_one(rough, _Increment(rough.shape, factor_G[rough_G]), inner_steps)
    return end_GBB


def _one_by_one(start_GBB: Floats, increment: _Increment, inner_steps: int) -> Floats:
    now_GBB = start_GBB.copy()
    for _ in range(inner_steps):
        now_GBB += increment(now_GBB)
    return now_GBB


class _Increment:
    """One step's displacement of the coordinates, with memory for its intermediate results."""

    def __init__(self, shape: tuple[int, ...], factor_G: Floats) -> None:
        self._factor_GB1 = factor_G[:, None, None]
        self._norm_GB1, self._pull_GB = np.empty((*shape[:2], 1)), np.empty(shape[:2])
        self._unit_GBB, self._kernel_GBB, self._log_GBB, self._scaled_GBB = (np.empty(shape) for _ in range(4))
        self._log_diagonal_GB = np.einsum("gii->gi", self._log_GBB)

    def __call__(self, c_GBB: Floats) -> Floats:
        norm_GB1, unit_GBB, kernel_GBB, log_GBB = self._norm_GB1, self._unit_GBB, self._kernel_GBB, self._log_GBB
        np.vecdot(c_GBB, c_GBB, out=norm_GB1[:, :, 0])
        np.sqrt(norm_GB1, out=norm_GB1)
        np.divide(c_GBB, norm_GB1, out=unit_GBB)
        np.matmul(unit_GBB, unit_GBB.mT, out=kernel_GBB)
        values_GB, vectors_GBB = np.linalg.eigh(kernel_GBB)
        np.log(np.maximum(values_GB, _SMALLEST_EIGENVALUE, out=values_GB), out=values_GB)
        np.multiply(vectors_GBB, values_GB[:, None, :], out=self._scaled_GBB)
        np.matmul(self._scaled_GBB, vectors_GBB.mT, out=log_GBB)
        self._log_diagonal_GB -= np.vecdot(log_GBB, kernel_GBB, out=self._pull_GB)
        push_GBB: Floats = log_GBB @ unit_GBB
        push_GBB *= np.divide(self._factor_GB1, norm_GB1, out=norm_GB1)
        return push_GBB
