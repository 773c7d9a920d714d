"""TORA (arXiv 2510.03886): Token Spacing and Residual Alignment of each sample's text tokens.

The selected tokens are read once, for their Gram matrix, and written once; `algebra` computes the change. Where the
change that was found in an earlier step is applied, no Gram matrix is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.interventions.numerics.arrays import NUMPY, TORCH, Array, Arrays, as_dtype_of
from models.interventions.numerics.eigen import eigh, large_eigenvalues
from models.interventions.numerics.projector import leading_direction
from models.interventions.tora.algebra import transform, transform_without_vectors
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection

Keep = Callable[[Callable[[Any], Any], Any], Any]
"""Gives the change that a decomposition finds, from the function that decomposes rows, and the rows of now: that of
these, or one that was found before."""


def space_and_align(
    tokens_BND: Tensor,
    direction_BD: Tensor,
    selection: TokenSelection,
    config: ToraConfig,
    keep: Keep = lambda find, rows: find(rows),
) -> Tensor:
    """Apply TORA to each sample on its own. The result has the shape and dtype of `tokens_BND`.

    tokens_BND: float [B, N, D], any float dtype.
    direction_BD: float [B, D], the semantic direction, of any length.
    selection: the tokens to change; the others are returned unchanged, as is a sample with fewer than three of them
        (two where `config.centre` is off).
    config: the settings.
    keep: see `Keep`; without it the tokens are decomposed.
    """
    if config.sigma == 1.0 and config.angle == 0.0:
        return tokens_BND
    aligned_BND = _aligned(tokens_BND.float(), direction_BD.float(), selection, config, keep)
    if tokens_BND.dtype == torch.float16:
        aligned_BND = aligned_BND.clamp(-65504.0, 65504.0)
    return aligned_BND.to(tokens_BND.dtype)


def _aligned(
    tokens_BND: Tensor, direction_BD: Tensor, selection: TokenSelection, config: ToraConfig, keep: Keep
) -> Tensor:
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    elbow, order, sigma, angle = selection.elbow_rows_BMM, selection.order_M1, config.sigma, config.angle
    if tokens_BND.device.type == "cpu":
        constants: Any = {"elbow_rows_BMM": elbow.numpy(), "order_M1": order.numpy(), "sigma": sigma, "angle": angle}

        def in_numpy(rows_BRD: Any) -> Any:
            return by_vectors(NUMPY, np.linalg.eigh, rows_BRD, **constants)

        arrays: Any = [array.numpy() for array in (tokens_BND, direction_BD, *select)]
        return torch.from_numpy(align(NUMPY, partial(keep, in_numpy), *arrays))
    values = large_eigenvalues(tokens_BND.device, elbow.shape[-1])

    def on_device(rows_BRD: Tensor) -> Any:
        if values is None:
            return by_vectors(TORCH, eigh, rows_BRD, elbow, order, sigma=sigma, angle=angle)
        return by_values(values, rows_BRD, elbow, sigma=sigma, angle=angle)

    return align(TORCH, partial(keep, on_device), tokens_BND, direction_BD, *select)


def align(
    xp: Arrays[Array],
    change_of: Callable[[Array], Array],
    tokens_BND: Array,
    direction_BD: Array,
    selected_BN1: Array,
    gather_BMN: Array,
    scatter_BNM: Array,
) -> Array:
    """TORA on the arrays of one library; the result is like `tokens_BND`.

    xp: the library.
    change_of: from the rows, float32 [B, M + 1, D], to their change, as `by_vectors`.
    tokens_BND: float32.
    direction_BD: float32.
    For the rest see `TokenSelection`.
    """
    rows_BRD = _rows(xp, tokens_BND, direction_BD, selected_BN1, gather_BMN)
    aligned_BND: Array = scatter_BNM @ change_of(rows_BRD) @ rows_BRD
    aligned_BND += tokens_BND
    return aligned_BND


def by_vectors(
    xp: Arrays[Array],
    eigh: Callable[[Array], tuple[Array, Array]],
    rows_BRD: Array,
    elbow_rows_BMM: Array,
    order_M1: Array,
    *,
    sigma: float,
    angle: float,
) -> Array:
    """The change of the rows, float32 [B, M, M + 1], as `algebra.transform` gives it.

    xp: the library of the arrays.
    eigh: gives eigenvalues (ascending) and eigenvectors of positive semidefinite matrices.
    rows_BRD: float32, the tokens and, last, the semantic direction.
    For the rest see `TokenSelection` and `ToraConfig`.
    """
    gram_BRR = as_dtype_of(elbow_rows_BMM, rows_BRD @ rows_BRD.mT)
    eigen = eigh(gram_BRR[:, :-1, :-1])
    change_BMR = transform(xp, eigen, gram_BRR, elbow_rows_BMM, order_M1, sigma=sigma, angle=angle)
    return as_dtype_of(rows_BRD, change_BMR)


def by_values(
    eigenvalues: Callable[[Tensor], Tensor], rows_BRD: Tensor, elbow_rows_BMM: Tensor, *, sigma: float, angle: float
) -> Tensor:
    """`by_vectors` for more tokens than a GPU's kernel for eigenvectors takes.

    eigenvalues: of symmetric matrices, ascending.
    """
    gram_BRR = (rows_BRD @ rows_BRD.mT).to(elbow_rows_BMM.dtype)
    values_BM = eigenvalues(gram_BRR[:, :-1, :-1])
    change_BMR = transform_without_vectors(values_BM, gram_BRR, elbow_rows_BMM, sigma=sigma, angle=angle)
    return change_BMR.to(rows_BRD.dtype)


def _rows(xp: Arrays[Array], tokens_BND: Array, direction_BD: Array, selected_BN1: Array, gather_BMN: Array) -> Array:
    """The tokens and the direction in one matrix: one product reads all that is needed, one writes the change."""
    # As in `TokenSelection.zero_others`.
    selected_BND = xp.where(selected_BN1, tokens_BND, 0.0)
    return xp.concatenate([gather_BMN @ selected_BND, direction_BD[:, None, :]], 1)


def semantic_direction(cond_BND: Tensor, uncond_BND: Tensor, selection: TokenSelection, config: ToraConfig) -> Tensor:
    """The direction d, float32 [B, D], of e_cond - e_uncond over the selected tokens: their mean, or the leading right
    singular vector with the sign of the mean.

    cond_BND: float [B, N, D], any float dtype.
    uncond_BND: as `cond_BND`, or one token for all, [B, 1, D].
    selection: the tokens.
    config: the settings.
    """
    difference_BND = selection.zero_others(cond_BND.float() - uncond_BND.float())
    mean_BD = selection.mean_B1N.bmm(difference_BND)[:, 0]
    if config.direction != "leading":
        return mean_BD
    difference_BMD = selection.scatter_BNM.mT @ difference_BND
    products_BMM = (difference_BMD @ difference_BMD.mT).double()
    if large_eigenvalues(products_BMM.device, products_BMM.shape[-1]) is None:
        vector_BM1 = eigh(products_BMM)[1][:, :, -1:]
    else:
        vector_BM1 = leading_direction(products_BMM)
    leading_BD: Tensor = (vector_BM1.mT.float() @ difference_BMD)[:, 0]
    sign_B1 = torch.where((leading_BD * mean_BD).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return leading_BD * sign_B1
