"""TORA (arXiv 2510.03886): Token Spacing and Residual Alignment of each sample's text tokens.

The selected tokens are read once, for their Gram matrix, and written once; `algebra` computes the change.
"""

from __future__ import annotations

from collections.abc import Callable
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


def space_and_align(tokens_BND: Tensor, direction_BD: Tensor, selection: TokenSelection, config: ToraConfig) -> Tensor:
    """Apply TORA to each sample on its own. The result has the shape and dtype of `tokens_BND`.

    tokens_BND: float [B, N, D], any float dtype.
    direction_BD: float [B, D], the semantic direction, of any length.
    selection: the tokens to change; the others are returned unchanged, as is a sample with fewer than three of them
        (two where `config.centre` is off).
    config: the settings.
    """
    if config.sigma == 1.0 and config.angle == 0.0:
        return tokens_BND
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    constants = (*select, selection.elbow_rows_BMM, selection.order_M1)
    aligned_BND = _aligned(tokens_BND.float(), direction_BD.float(), *constants, config.sigma, config.angle)
    if tokens_BND.dtype == torch.float16:
        aligned_BND = aligned_BND.clamp(-65504.0, 65504.0)
    return aligned_BND.to(tokens_BND.dtype)


def _aligned(
    tokens_BND: Tensor,
    direction_BD: Tensor,
    selected_BN1: Tensor,
    gather_BMN: Tensor,
    scatter_BNM: Tensor,
    elbow_rows_BMM: Tensor,
    order_M1: Tensor,
    sigma: float,
    angle: float,
) -> Tensor:
    arrays = (tokens_BND, direction_BD, selected_BN1, gather_BMN, scatter_BNM, elbow_rows_BMM, order_M1)
    if tokens_BND.device.type != "cpu":
        values = large_eigenvalues(tokens_BND.device, elbow_rows_BMM.shape[-1])
        if values is None:
            return align(TORCH, eigh, *arrays, sigma=sigma, angle=angle)
        return align_many(values, *arrays[:-1], sigma=sigma, angle=angle)
    in_numpy: Any = [array.numpy() for array in arrays]
    return torch.from_numpy(align(NUMPY, np.linalg.eigh, *in_numpy, sigma=sigma, angle=angle))


def align(
    xp: Arrays[Array],
    eigh: Callable[[Array], tuple[Array, Array]],
    tokens_BND: Array,
    direction_BD: Array,
    selected_BN1: Array,
    gather_BMN: Array,
    scatter_BNM: Array,
    elbow_rows_BMM: Array,
    order_M1: Array,
    *,
    sigma: float,
    angle: float,
) -> Array:
    """TORA on the arrays of one library; the result is like `tokens_BND`.

    xp: the library.
    eigh: gives eigenvalues (ascending) and eigenvectors of positive semidefinite matrices.
    tokens_BND: float32.
    direction_BD: float32.
    For the rest see `TokenSelection` and `ToraConfig`.
    """
    rows_BRD = _rows(xp, tokens_BND, direction_BD, selected_BN1, gather_BMN)
    gram_BRR = as_dtype_of(elbow_rows_BMM, rows_BRD @ rows_BRD.mT)
    eigen = eigh(gram_BRR[:, :-1, :-1])
    change_BMR = transform(xp, eigen, gram_BRR, elbow_rows_BMM, order_M1, sigma=sigma, angle=angle)
    aligned_BND: Array = scatter_BNM @ as_dtype_of(rows_BRD, change_BMR) @ rows_BRD
    aligned_BND += tokens_BND
    return aligned_BND


def align_many(
    eigenvalues: Callable[[Tensor], Tensor],
    tokens_BND: Tensor,
    direction_BD: Tensor,
    selected_BN1: Tensor,
    gather_BMN: Tensor,
    scatter_BNM: Tensor,
    elbow_rows_BMM: Tensor,
    *,
    sigma: float,
    angle: float,
) -> Tensor:
    """`align` for more tokens than a GPU's kernel for eigenvectors takes.

    eigenvalues: of symmetric matrices, ascending.
    """
    rows_BRD = _rows(TORCH, tokens_BND, direction_BD, selected_BN1, gather_BMN)
    gram_BRR = (rows_BRD @ rows_BRD.mT).to(elbow_rows_BMM.dtype)
    values_BM = eigenvalues(gram_BRR[:, :-1, :-1])
    change_BMR = transform_without_vectors(values_BM, gram_BRR, elbow_rows_BMM, sigma=sigma, angle=angle)
    return tokens_BND + scatter_BNM @ change_BMR.to(rows_BRD.dtype) @ rows_BRD


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
