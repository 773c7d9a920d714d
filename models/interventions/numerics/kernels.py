"""Small symmetric eigenproblems, and the entropy ascent, as one GPU kernel each.

torch's eigenvalue routines ask the device after every call whether they succeeded, which makes the host wait in every
block. These run one-sided Jacobi rotations (Hestenes 1958), which turn pairs of columns to bring all columns to right
angles, until a sweep over all pairs has met none that is far from it: the device itself decides, with a bound on the
sweeps. A program holds one matrix, so matrices have at most `LARGEST` rows; those of more than `FEW` spill out of its
registers into the cache, where a turn takes several times as long.

`eigh` turns the columns of a pivoted Cholesky factor, as Veselic and Hari ("A note on a one-sided Jacobi algorithm",
1989) do: 64 rows then take 7 to 9 sweeps whatever their spectrum, where the matrix's own columns take 11 (condition
1e2) to 25 (1e8).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST, FEW = 128, 64
_MOST_SWEEPS = 30

_EIGH_COSINE, _ASCENT_COSINE = 1e-8, 1e-5
"""Largest cosine between two columns that the last sweep may meet. It turns them as well, and convergence is quadratic:
what remains is about its square."""

_NOTHING = tl.constexpr(1e-15)
"""Of the largest squared length of a column: below it lies rounding, which no rotation needs to put in order."""

_SHIFT = tl.constexpr(1e-6)
"""Of the trace, added to the diagonal before the factorisation and taken off the eigenvalues: float32 sums of products
round to about 1e-7 of the trace."""


@triton.jit  # type: ignore[untyped-decorator]
def _turned(a, frame, cosine_limit, most_sweeps, FRAMED: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The columns of `a` [SIZE, SIZE], turned in pairs, and where FRAMED those of `frame`, turned likewise."""
    column = tl.arange(0, SIZE)
    largest = tl.full((), 0.0, tl.float64) + cosine_limit * cosine_limit
    worst, sweep = largest + 1.0, 0
    while (worst > largest) & (sweep < most_sweeps):
        worst = largest * 0.0
        nothing = _NOTHING * tl.max(tl.sum(a * a, 0), 0)
        for turn in range(1, SIZE):
            # Partners by exclusive or: SIZE - 1 rounds bring every pair together once, SIZE / 2 pairs at a time.
            other = column ^ turn
            index = tl.broadcast_to(other[None, :], (SIZE, SIZE))
            b = tl.gather(a, index, 1)
            own, both = tl.sum(a * a, 0), tl.sum(a * b, 0)
            partner = tl.gather(own, other, 0)
            size = own * partner
            unknown = tl.minimum(own, partner) <= nothing
            square = tl.where(unknown, 0.0, both * both / tl.where(size > 0.0, size, 1.0))
            worst = tl.maximum(worst, tl.max(square, 0))
            apart = square <= 1e-30
            zeta = (partner - own) / tl.where(apart, 1.0, 2.0 * both)
            # Both partners find the same angle, the second with the other sign.
            sign = tl.where((zeta > 0) | ((zeta == 0) & (column < other)), 1.0, -1.0)
            tangent = tl.where(apart, 0.0, sign / (tl.abs(zeta) + tl.sqrt(1.0 + zeta * zeta)))
            cosine = 1.0 / tl.sqrt(1.0 + tangent * tangent)
            sine = cosine * tangent
            a = cosine[None, :] * a - sine[None, :] * b
            if FRAMED:
                frame = cosine[None, :] * frame - sine[None, :] * tl.gather(frame, index, 1)
        sweep += 1
    return a, frame


@triton.jit  # type: ignore[untyped-decorator]
def _factor(a, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """L [SIZE, SIZE] with L L^T = a, by Cholesky's method with the largest pivot first."""
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    factor = a * 0.0
    nothing = _NOTHING * tl.max(tl.sum(tl.where(row == column, a, 0.0), 0), 0)
    for step in range(SIZE):
        pivot, place = tl.max(tl.sum(tl.where(row == column, a, 0.0), 0), 0, return_indices=True)
        root = tl.sqrt(tl.where(pivot > nothing, pivot, float("inf")))
        # The pivot's column, along each axis.
        entry = tl.sum(tl.where(column == place, a, 0.0), 1) / root
        entry_row = tl.sum(tl.where(row == place, a, 0.0), 0) / root
        factor = tl.where(column == step, entry[:, None], factor)
        a = tl.where((row == place) | (column == place), 0.0, a - entry[:, None] * entry_row[None, :])
    return factor


@triton.jit  # type: ignore[untyped-decorator]
def _eigh_kernel(matrix, values, vectors, count, cosine_limit, most_sweeps, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (row < count) & (column < count)
    a = tl.load(matrix + tl.program_id(0) * count * count + row * count + column, mask=inside, other=0.0)
    diagonal = row == column
    # Products in float32 are semidefinite up to their rounding only. A shift beyond it leaves the vectors as they are.
    shift = _SHIFT * tl.sum(tl.sum(tl.where(diagonal, a, 0.0), 0), 0) + 1e-300
    a += tl.where(diagonal & inside, shift, 0.0)
    a, _ = _turned(_factor(a, SIZE), 0, cosine_limit, most_sweeps, False, SIZE)
    square = tl.sum(a * a, 0)
    # Columns beyond the matrix are zero, and come before all others in ascending order.
    known = square > 0.0
    value = tl.where(known, square - shift, float("-inf"))
    tl.store(values + tl.program_id(0) * SIZE + tl.arange(0, SIZE), value)
    unit = a / tl.sqrt(tl.where(known, square, 1.0))[None, :]
    tl.store(vectors + tl.program_id(0) * count * SIZE + row * SIZE + column, unit, mask=row < count)


@triton.jit  # type: ignore[untyped-decorator]
def _ascend_kernel(  # type: ignore[no-untyped-def]
    c, frame, factor, count, steps, cosine_limit, most_sweeps, SMALLEST: tl.constexpr, SIZE: tl.constexpr
):
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (row < count) & (column < count)
    place = tl.program_id(0) * count * count + row * count + column
    now = tl.load(c + place, mask=inside, other=0.0)
    turned = tl.where(row == column, 1.0, 0.0).to(tl.float64)
    scale = tl.load(factor + tl.program_id(0))
    for _ in range(steps):
        norm = tl.sqrt(tl.sum(now * now, 1))
        norm = tl.where(norm > 0.0, norm, 1.0)
        unit, turned = _turned(now / norm[:, None], turned, cosine_limit, most_sweeps, True, SIZE)
        # Columns are eigenvectors of the similarities times the root of their eigenvalue.
        weight = tl.log(tl.maximum(tl.sum(unit * unit, 0), SMALLEST))[None, :]
        pull = tl.sum(unit * unit * weight, 1)
        push = (scale / norm)[:, None] * (unit * weight - pull[:, None] * unit)
        now = norm[:, None] * unit + push
    tl.store(c + place, now, mask=inside)
    tl.store(frame + tl.program_id(0) * SIZE * SIZE + row * SIZE + column, turned)


def eigh(matrix_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of matrices that are positive semidefinite up to 1e-6 of their trace.

    matrix_GNN: float64 [G, N, N], N <= `LARGEST`.
    """
    groups, count = matrix_GNN.shape[:2]
    size = triton.next_power_of_2(max(count, 2))
    values = matrix_GNN.new_empty(groups, size)
    vectors = matrix_GNN.new_empty(groups, count, size)
    # Triton launches on the process's current GPU, wherever the tensors are.
    with torch.cuda.device_of(matrix_GNN):  # type: ignore[no-untyped-call]
        _eigh_kernel[(groups,)](
            matrix_GNN.contiguous(),
            values,
            vectors,
            count,
            _EIGH_COSINE,
            _MOST_SWEEPS,
            SIZE=size,
            num_warps=_warps(size),
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
    with torch.cuda.device_of(now):  # type: ignore[no-untyped-call]
        _ascend_kernel[(groups,)](
            now,
            frame,
            factor_G,
            count,
            inner_steps,
            _ASCENT_COSINE,
            _MOST_SWEEPS,
            SMALLEST=smallest,
            SIZE=size,
            num_warps=_warps(size),
        )
    return now @ frame[:, :count, :count].mT


def _warps(size: int) -> int:
    """Warps for a matrix of `size` rows; a single one needs no barriers."""
    return max(1, size * size // 512)
