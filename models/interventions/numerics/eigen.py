"""Eigenvalues of small matrices, on a GPU without a wait of the host, and functions that stay out of torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")


def opaque(
    name: str, fake: Callable[..., Tensor]
) -> Callable[[Callable[Arguments, Tensor]], Callable[Arguments, Tensor]]:
    """Make a function one operation for torch.compile, which does not look inside.

    Outside of compilation it is called directly: torch's dispatch of an operation takes as long as the algebra of a
    small matrix.

    name: of the operation, unique in the process.
    fake: gives an empty tensor of the result's shape and dtype, from the same arguments.
    """

    def wrap(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
        operation = torch.library.custom_op(f"raydiance::{name}", function, mutates_args=())
        operation.register_fake(fake)

        @wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
            found: Tensor = (operation if torch.compiler.is_compiling() else function)(*args, **kwargs)
            return found

        return call

    return wrap


def gpu_kernels(device: torch.device, rows: int) -> ModuleType | None:
    """The module `models.interventions.numerics.kernels` where it serves the device and the size, else None.

    rows: of the matrices.
    """
    if device.type != "cuda":
        return None
    from models.interventions.numerics import kernels  # Triton comes with torch's CUDA builds only

    return kernels if rows <= kernels.LARGEST else None


def large_eigenvalues(device: torch.device, rows: int) -> Callable[[Tensor], Tensor] | None:
    """Eigenvalues, ascending, of float64 [G, N, N], where a GPU has no kernel for the vectors; else None.

    rows: of the matrices.
    """
    if device.type != "cuda" or gpu_kernels(device, rows) is not None:
        return None
    from models.interventions.numerics import tridiagonal

    return tridiagonal.eigenvalues


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices.

    On a GPU, matrices of more than 64 rows go to torch's solver, for which the host waits: groups of more than 64
    samples. TORA does without, see `large_eigenvalues`.

    matrix_GNN: float64 [G, N, N].
    """
    kernels = gpu_kernels(matrix_GNN.device, matrix_GNN.shape[-1])
    found: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix_GNN) if kernels is None else kernels.eigh(matrix_GNN)
    return found
