"""Algebra of small matrices: eigenvalues, on a GPU without a wait for it, and functions that stay out of graphs."""

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

    fake: what it returns, in shape and dtype. Outside of compilation it is called as it is: torch's way to its own
    operations takes as long as the algebra of a small matrix.
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
    """`models.interventions.numerics.kernels` where matrices of so many rows can be left to them, else None."""
    if device.type != "cuda":
        return None
    from models.interventions.numerics import kernels  # Triton comes with torch's CUDA builds only

    return kernels if rows <= kernels.LARGEST else None


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices float64 [G, N, N].

    On a GPU, matrices of more than 64 rows go to torch's solver, for which the host waits.
    """
    kernels = gpu_kernels(matrix_GNN.device, matrix_GNN.shape[-1])
    found: tuple[Tensor, Tensor] = torch.linalg.eigh(matrix_GNN) if kernels is None else kernels.eigh(matrix_GNN)
    return found
