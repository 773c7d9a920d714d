"""Small symmetric eigenproblems, and the entropy ascent, as one GPU kernel each.

torch's eigenvalue routines ask the device after every call whether they succeeded, which makes the host wait in every
block. These run a fixed number of sweeps of one-sided Jacobi rotations (Hestenes 1958), which turn pairs of columns to
bring all columns to right angles. A program holds one matrix, so matrices have at most `LARGEST` rows.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

LARGEST = 64
_COLD_SWEEPS, _WARM_SWEEPS = 10, 2
"""Sweeps from scratch, and from columns that the last step left nearly at right angles: convergence is quadratic."""


@triton.jit  # type: ignore[untyped-decorator]
def _turned(a, frame, sweeps, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The columns of `a` [SIZE, SIZE], turned in pairs, and those of `frame`, turned likewise."""
    column = tl.arange(0, SIZE)
    for turn in range(sweeps * (SIZE - 1)):
        # Partners by exclusive or: SIZE - 1 rounds bring every pair together once, SIZE / 2 pairs at a time.
        other = column ^ (turn % (SIZE - 1) + 1)
        index = tl.broadcast_to(other[None, :], (SIZE, SIZE))
        b = tl.gather(a, index, 1)
        own, partner, both = tl.sum(a * a, 0), tl.sum(b * b, 0), tl.sum(a * b, 0)
        apart = both * both <= 1e-30 * own * partner
        zeta = (partner - own) / tl.where(apart, 1.0, 2.0 * both)
        # Both partners find the same angle, the second with the other sign.
        sign = tl.where((zeta > 0) | ((zeta == 0) & (column < other)), 1.0, -1.0)
        tangent = tl.where(apart, 0.0, sign / (tl.abs(zeta) + tl.sqrt(1.0 + zeta * zeta)))
        cosine = 1.0 / tl.sqrt(1.0 + tangent * tangent)
        sine = cosine * tangent
        a = cosine[None, :] * a - sine[None, :] * b
        frame = cosine[None, :] * frame - sine[None, :] * tl.gather(frame, index, 1)
    return a, frame


@triton.jit  # type: ignore[untyped-decorator]
def _eigh_kernel(matrix, values, vectors, count, sweeps, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (row < count) & (column < count)
    a = tl.load(matrix + tl.program_id(0) * count * count + row * count + column, mask=inside, other=0.0)
    a, _ = _turned(a, a, sweeps, SIZE)
    norm = tl.sqrt(tl.sum(a * a, 0))
    tl.store(values + tl.program_id(0) * SIZE + tl.arange(0, SIZE), norm)
    unit = a / tl.where(norm > 0.0, norm, 1.0)[None, :]
    tl.store(vectors + tl.program_id(0) * count * SIZE + row * SIZE + column, unit, mask=row < count)


@triton.jit  # type: ignore[untyped-decorator]
def _ascend_kernel(  # type: ignore[no-untyped-def]
    c, frame, factor, count, steps, cold, warm, SMALLEST: tl.constexpr, SIZE: tl.constexpr
):
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (row < count) & (column < count)
    place = tl.program_id(0) * count * count + row * count + column
    now = tl.load(c + place, mask=inside, other=0.0)
    turned = tl.where(row == column, 1.0, 0.0).to(tl.float64)
    scale = tl.load(factor + tl.program_id(0))
    for step in range(steps):
        norm = tl.sqrt(tl.sum(now * now, 1))
        norm = tl.where(norm > 0.0, norm, 1.0)
        unit, turned = _turned(now / norm[:, None], turned, tl.where(step == 0, cold, warm), SIZE)
        # Columns are eigenvectors of the similarities times the root of their eigenvalue.
        weight = tl.log(tl.maximum(tl.sum(unit * unit, 0), SMALLEST))[None, :]
        pull = tl.sum(unit * unit * weight, 1)
        push = (scale / norm)[:, None] * (unit * weight - pull[:, None] * unit)
        now = norm[:, None] * unit + push
    tl.store(c + place, now, mask=inside)
    tl.store(frame + tl.program_id(0) * SIZE * SIZE + row * SIZE + column, turned)


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of positive semidefinite matrices.

    Vectors of eigenvalues that are exactly zero are zero.

    matrix_GNN: float64 [G, N, N], N <= `LARGEST`.
    """
    groups, count = matrix_GNN.shape[:2]
    size = triton.next_power_of_2(max(count, 2))
    values = matrix_GNN.new_empty(groups, size)
    vectors = matrix_GNN.new_empty(groups, count, size)
    _eigh_kernel[(groups,)](
        matrix_GNN.contiguous(), values, vectors, count, _COLD_SWEEPS, SIZE=size, num_warps=_warps(size)
    )
    values, order = values.sort(dim=-1)
    vectors = vectors.gather(-1, order[:, None, :].expand_as(vectors))
    return values[:, size - count :], vectors[:, :, size - count :]


def ascend(start_GBB: Tensor, factor_G: Tensor, inner_steps: int, smallest: float) -> Tensor:
    """The coordinates (rows are vectors) after all steps of the ascent.

    start_GBB: float64 [G, B, B], B <= `LARGEST`.
    factor_G: float64, -2 / B times the length of a step.
    smallest: eigenvalues of the similarities are at least this.
    """
    groups, count = start_GBB.shape[:2]
    size = triton.next_power_of_2(max(count, 2))
    now, frame = start_GBB.contiguous().clone(), start_GBB.new_empty(groups, size, size)
    _ascend_kernel[(groups,)](
        now,
        frame,
        factor_G,
        count,
        inner_steps,
        _COLD_SWEEPS,
        _WARM_SWEEPS,
        SMALLEST=smallest,
        SIZE=size,
        num_warps=_warps(size),
    )
    return now @ frame[:, :count, :count].mT


def _warps(size: int) -> int:
    """Warps for a matrix of `size` rows; a single one needs no barriers."""
    return max(1, size * size // 512)
