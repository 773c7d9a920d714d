"""The principal space of larger semidefinite matrices by products of matrices alone, without a wait of the host.

TORA needs the space of the k largest eigenvalues and the next direction, not each vector. k is known on the device only
and may be a third of the rows, with gaps of 1e-4 of the largest eigenvalue (hidden states of a language model: k = 45
to 100 at 333 and 512 tokens), where iterations on a subspace of fixed size fail. Instead the projector comes from the
matrix sign of G - mu, with mu in the gap, by scaled Newton-Schulz steps (Chen and Chow, "A stable scaling of
Newton-Schulz for improving the sign function computation of a Hermitian matrix", 2014); the next direction from
repeated squaring of what remains.

Warm-started iterations on a subspace, block by block, would gain little. Maximum Distance to Chord chooses k on the
curve of all singular values, which `tridiagonal` finds: by the model of jobs/benchmarks/cost.py 3.4 ms of the 5.1 ms of
a decomposition of 333 tokens on an H100. Iterations would save of the rest only, and a Rayleigh-Ritz step on the 128
directions that k = 100 needs takes 3.1 ms by Jacobi rotations. Decomposing in fewer steps saves all of it:
`ToraConfig.refresh_steps`.

The projector is exact to about 1e-9 where the gap is above 1e-8 of the largest eigenvalue. Where it is narrower, k cuts
through equal eigenvalues and no projector is better than another: directions in the gap then get a share between 0 and
1, all others are exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NARROWEST_GAP, _STEPS = 1e-8, 27
"""Each step widens the gap 2.6 times at first; 22 open it, the rest converge."""

_ROUNDS, _SQUARINGS = 3, 6
"""Squarings between two scalings, which are enough: the largest eigenvalue is at least 1 / N of the trace, and its 64th
power a number of float64 up to N = 4096. Two directions whose eigenvalues differ by a share of 5e-5 are after all
rounds apart by e^-13."""

_ROUNDING = 1e-5
"""Of the largest eigenvalue: products in float32 are semidefinite up to it, and no eigenvalue may lie out of bounds."""

_ZERO = 1e-300


def _step_factors() -> list[tuple[float, float]]:
    """The linear and the cubic factor of each step. They are those of the narrowest gap, which serve all wider ones: so
    they are numbers, and a step on the device is two products and nothing beside."""
    low, factors = _NARROWEST_GAP, []
    for _ in range(_STEPS):
        scale = math.sqrt(3.0 / (1.0 + low + low * low))
        linear, cubic = 1.5 * scale, 0.5 * scale**3
        factors.append((linear, cubic))
        low = min(1.0, low * (linear - cubic * low * low))
    return factors


_STEP_FACTORS = _step_factors()


def principal_projector(matrix_GNN: Tensor, first_G11: Tensor, last_G11: Tensor, next_G11: Tensor) -> Tensor:
    """The projector on the space of the k largest eigenvalues, float64 [G, N, N].

    matrix_GNN: float64, positive semidefinite.
    first_G11, last_G11, next_G11: the eigenvalues number 1, k and k + 1, counted from the largest.
    """
    eye_NN = torch.eye(matrix_GNN.shape[-1], dtype=matrix_GNN.dtype, device=matrix_GNN.device)
    middle_G11 = 0.5 * (last_G11 + next_G11)
    bound_G11 = torch.maximum(first_G11 - middle_G11, middle_G11) + _ROUNDING * first_G11 + _ZERO
    sign_GNN = (matrix_GNN - middle_G11 * eye_NN) / bound_G11
    for linear, cubic in _STEP_FACTORS:
        sign_GNN = torch.baddbmm(sign_GNN, sign_GNN @ sign_GNN, sign_GNN, beta=linear, alpha=-cubic)
    return 0.5 * (eye_NN + sign_GNN)


def leading_direction(matrix_GNN: Tensor) -> Tensor:
    """Unit eigenvector of the largest eigenvalue, float64 [G, N, 1]; zero for a matrix of zeros. Of equal eigenvalues
    it is some vector of their space."""
    power_GNN = _of_trace_one(matrix_GNN)
    for _ in range(_ROUNDS):
        for _ in range(_SQUARINGS):
            power_GNN = power_GNN @ power_GNN
        power_GNN = _of_trace_one(power_GNN)
    place_G11 = power_GNN.diagonal(dim1=1, dim2=2).argmax(-1)[:, None, None]
    column_GN1 = power_GNN.gather(2, place_G11.expand(-1, power_GNN.shape[1], 1))
    unit_GN1: Tensor = column_GN1 / (column_GN1.norm(dim=1, keepdim=True) + _ZERO)
    return unit_GN1


def solve_inside(matrix_GNN: Tensor, projector_GNN: Tensor, smallest_G11: Tensor, right_GN1: Tensor) -> Tensor:
    """x in the projector's space with P matrix x = P right, float64 [G, N, 1].

    smallest_G11: the smallest eigenvalue of the matrix in that space.
    """
    eye_NN = torch.eye(matrix_GNN.shape[-1], dtype=matrix_GNN.dtype, device=matrix_GNN.device)
    outside_GNN = (eye_NN - projector_GNN) * (smallest_G11.clamp_min(0.0) + _ZERO)
    whole_GNN = projector_GNN @ matrix_GNN @ projector_GNN + outside_GNN
    factor_GNN, _ = torch.linalg.cholesky_ex(0.5 * (whole_GNN + whole_GNN.mT))
    half_GN1 = torch.linalg.solve_triangular(factor_GNN, projector_GNN @ right_GN1, upper=False)
    x_GN1: Tensor = projector_GNN @ torch.linalg.solve_triangular(factor_GNN.mT, half_GN1, upper=True)
    return x_GN1


def _of_trace_one(matrix_GNN: Tensor) -> Tensor:
    return matrix_GNN / (matrix_GNN.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None] + _ZERO)
