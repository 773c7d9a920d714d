"""Eigenvalues of small matrices, on a GPU without a wait of the host."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor


def gpu_kernels(device: torch.device, rows: int) -> ModuleType | None:
    """The module `models.interventions.numerics.kernels` where it serves the device and the size, else None.

    rows: of the matrices.
    """
    if device.type != "cuda":
        return None
    from models.interventions.numerics import kernels  # Triton comes with torch's CUDA builds only

    return kernels if rows <= kernels.LARGEST else None


def large_eigenvalues(device: torch.device, rows: int) -> Callable[[Tensor], Tensor] | None:
    """Eigenvalues, ascending, of float64 [G, N, N], where a GPU has no fast kernel for the vectors; else None.

    rows: of the matrices.
    """
    if device.type != "cuda":
        return None
    from models.interventions.numerics import kernels, tridiagonal

    return tridiagonal.eigenvalues if rows > kernels.FEW else None


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices.

    On a GPU, matrices of more than 128 rows go to torch's solver, for which the host waits: groups of more than 128
    samples. TORA does without, see `large_eigenvalues`.

    matrix_GNN: float64 [G, N, N].
    """
    kernels = gpu_kernels(matrix_GNN.device, matrix_GNN.shape[-1])
    found: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix_GNN) if kernels is None else kernels.eigh(matrix_GNN)
    return found
