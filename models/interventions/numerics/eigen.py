"""Eigenvalues of small matrices, on a GPU without a wait of the host."""

from __future__ import annotations

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


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices.

    On a GPU, matrices of more than 64 rows go to torch's solver, for which the host waits.

    matrix_GNN: float64 [G, N, N].
    """
    kernels = gpu_kernels(matrix_GNN.device, matrix_GNN.shape[-1])
    found: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix_GNN) if kernels is None else kernels.eigh(matrix_GNN)
    return found
