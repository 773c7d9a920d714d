"""Eigenvalues of small symmetric matrices, on a GPU without a wait for it."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor


def gpu_kernels(device: torch.device, rows: int) -> ModuleType | None:
    """`models.interventions.kernels` where matrices of so many rows can be left to them, else None."""
    if device.type != "cuda":
        return None
    from models.interventions import kernels  # Triton comes with torch's CUDA builds only

    return kernels if rows <= kernels.LARGEST else None


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices float64 [G, N, N].

    On a GPU, matrices of more than 64 rows go to torch's solver, for which the host waits.
    """
    kernels = gpu_kernels(matrix_GNN.device, matrix_GNN.shape[-1])
    found: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix_GNN) if kernels is None else kernels.eigh(matrix_GNN)
    return found
