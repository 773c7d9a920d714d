"""Eigenvalues of larger symmetric matrices as two GPU kernels, without a wait of the host: Householder's reduction to
tridiagonal form, one program a matrix, and Sturm counts at 32 points at once for each eigenvalue."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _AT_ONCE = 16, 4
"""Rows that are updated together, and eigenvalues to a program."""

_SECTIONS = 10
"""Each narrows an eigenvalue's interval 33 times; 10 reach float64."""


@triton.jit  # type: ignore[untyped-decorator]
def _reduce_kernel(work, vectors, diagonal, beside, count, SIZE: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Leaves the tridiagonal form's diagonal and the entries beside it.

    work: [count, count], overwritten. vectors: [4, SIZE], memory through which the program's threads share vectors.
    """
    column, row = tl.arange(0, SIZE), tl.arange(0, ROWS)
    work += tl.program_id(0) * count * count
    vectors += tl.program_id(0) * 4 * SIZE
    inside = column < count
    v = tl.zeros((SIZE,), tl.float64)
    q = tl.zeros((SIZE,), tl.float64)
    for step in range(count - 1):
        # Column `step` with the last reflection, which the passes over `work` apply one step late.
        line = tl.load(work + step * count + column, mask=inside, other=0.0)
        at_v, at_q = tl.sum(tl.where(column == step, v, 0.0), 0), tl.sum(tl.where(column == step, q, 0.0), 0)
        line -= v * at_q + q * at_v
        tl.store(diagonal + tl.program_id(0) * count + step, tl.sum(tl.where(column == step, line, 0.0), 0))
        below = tl.where(column > step, line, 0.0)
        first = tl.sum(tl.where(column == step + 1, line, 0.0), 0)
        length = tl.sqrt(tl.sum(below * below, 0))
        end = tl.where(first > 0.0, -length, length)
        tl.store(beside + tl.program_id(0) * count + step, end)
        reflector = tl.where(column == step + 1, first - end, below)
        half = length * length - first * end
        per_half = tl.where(half > 0.0, 1.0 / tl.where(half > 0.0, half, 1.0), 0.0)

        # One pass over the rest: apply the last reflection, and multiply by this one's vector.
        tl.store(vectors + column, v)
        tl.store(vectors + SIZE + column, q)
        tl.debug_barrier()
        for start in range((step + 1) // ROWS * ROWS, count, ROWS):
            place = start + row
            place_v, place_q = tl.load(vectors + place), tl.load(vectors + SIZE + place)
            block = work + place[:, None] * count + column[None, :]
            mask = (place[:, None] < count) & inside[None, :]
            tile = tl.load(block, mask=mask, other=0.0)
            tile -= place_v[:, None] * q[None, :] + place_q[:, None] * v[None, :]
            tl.store(block, tile, mask=mask)
            tl.store(vectors + 2 * SIZE + place, tl.sum(tile * reflector[None, :], 1))
        tl.debug_barrier()
        product = tl.load(vectors + 2 * SIZE + column, mask=inside & (column > step), other=0.0) * per_half
        v = reflector
        q = product - 0.5 * per_half * tl.sum(product * v, 0) * v
        tl.debug_barrier()
    last = tl.load(work + (count - 1) * count + count - 1)
    twice = 2.0 * tl.sum(tl.where(column == count - 1, v * q, 0.0), 0)
    tl.store(diagonal + tl.program_id(0) * count + count - 1, last - twice)
    tl.store(beside + tl.program_id(0) * count + count - 1, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _count_kernel(diagonal, beside, values, count, sections, SIZE: tl.constexpr, AT_ONCE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Eigenvalues, ascending, of tridiagonal matrices."""
    column = tl.arange(0, SIZE)
    diagonal += tl.program_id(0) * count
    beside += tl.program_id(0) * count
    whole = tl.load(diagonal + column, mask=column < count, other=0.0)
    after = tl.abs(tl.load(beside + column, mask=column < count, other=0.0))
    before = tl.abs(tl.load(beside + column - 1, mask=(column > 0) & (column < count), other=0.0))
    # Gershgorin's circles hold all eigenvalues.
    reach = tl.max(tl.abs(whole) + before + after, 0) * (1.0 + 1e-12) + 1e-300
    number = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    low = tl.zeros((AT_ONCE,), tl.float64) - reach
    width = tl.zeros((AT_ONCE,), tl.float64) + 2.0 * reach
    point = (tl.arange(0, 32) + 1).to(tl.float64) / 33.0
    tiny = reach * 1e-30 + 1e-300
    for _ in range(sections):
        at = low[:, None] + width[:, None] * point[None, :]
        pivot = tl.load(diagonal) - at
        below = tl.where(pivot < 0.0, 1, 0)
        for index in range(1, count):
            entry = tl.load(beside + index - 1)
            pivot = tl.where(tl.abs(pivot) < tiny, -tiny, pivot)
            pivot = tl.load(diagonal + index) - at - entry * entry / pivot
            below += tl.where(pivot < 0.0, 1, 0)
        # The points that have at most `number` eigenvalues below them lie left of this one.
        left = tl.sum(tl.where(below <= number[:, None], 1, 0), 1).to(tl.float64)
        low += width * left / 33.0
        width = width / 33.0
    tl.store(values + tl.program_id(0) * count + number, low + 0.5 * width, mask=number < count)


def eigenvalues(matrix_GNN: Tensor) -> Tensor:
    """Eigenvalues, ascending, float64 [G, N], to about 1e-15 of the largest.

    matrix_GNN: float64 [G, N, N], symmetric.
    """
    groups, count = matrix_GNN.shape[:2]
    size = triton.next_power_of_2(max(count, _ROWS))
    diagonal, beside, values = (matrix_GNN.new_empty(groups, count) for _ in range(3))
    vectors = matrix_GNN.new_empty(groups, 4, size)
    programs = (groups, triton.cdiv(count, _AT_ONCE))
    with torch.cuda.device_of(matrix_GNN):  # type: ignore[no-untyped-call]  # as in `kernels.eigh`
        _reduce_kernel[(groups,)](
            matrix_GNN.contiguous().clone(), vectors, diagonal, beside, count, SIZE=size, ROWS=_ROWS, num_warps=16
        )
        _count_kernel[programs](diagonal, beside, values, count, _SECTIONS, SIZE=size, AT_ONCE=_AT_ONCE, num_warps=4)
    return values
