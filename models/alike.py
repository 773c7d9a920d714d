"""Near-duplicates among many image vectors: exact, block by block, in bounded memory.

Array names: N vectors of D values, all of unit length to within their number format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2048
_ALMOST_ONE = 1.0 - 1e-5
"""Cosine of equal vectors, as rounding may give it."""


def repeats(vectors_ND: NDArray[Any], similarity: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each vector the number of the first earlier one that it repeats, -1 for none, and their cosine, 0 for none.

    A vector that repeats another one is none that later ones can repeat: what is left is as different as asked for.
    N * N * D / 2 products where nothing repeats; two blocks of 2048 vectors and their products are in memory.

    vectors_ND: may be a memory map.
    similarity: cosine from which a vector is a repeat, above 0 and at most 1.
    """
    count, least = len(vectors_ND), min(similarity, _ALMOST_ONE)
    first_N, cosine_N = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.float32)
    for start in range(0, count, _BLOCK):
        block_BD = _unit(vectors_ND[start : start + _BLOCK])
        for earlier in range(0, start, _BLOCK):
            originals = earlier + np.flatnonzero(first_N[earlier : earlier + _BLOCK] < 0)
            open_ = np.flatnonzero(first_N[start : start + len(block_BD)] < 0)
            if len(originals) and len(open_):
                cosine_OE = block_BD[open_] @ _unit(vectors_ND[originals]).T
                alike_OE = cosine_OE >= least
                for at in np.flatnonzero(alike_OE.any(1)):
                    found = int(alike_OE[at].argmax())
                    first_N[start + open_[at]], cosine_N[start + open_[at]] = originals[found], cosine_OE[at, found]
        _within(block_BD, start, least, first_N, cosine_N)
    return first_N, cosine_N


def _within(
    block_BD: NDArray[np.float32], start: int, least: float, first_N: NDArray[np.int64], cosine_N: NDArray[np.float32]
) -> None:
    """The repeats of vectors in their own block; writes them into the last two."""
    cosine_BB = block_BD @ block_BD.T
    first_B, own_B = first_N[start : start + len(block_BD)], cosine_N[start : start + len(block_BD)]
    for at in range(len(block_BD)):
        if first_B[at] < 0:
            later = at + 1 + np.flatnonzero((cosine_BB[at, at + 1 :] >= least) & (first_B[at + 1 :] < 0))
            first_B[later], own_B[later] = start + at, cosine_BB[at, later]


def _unit(vectors_BD: NDArray[Any]) -> NDArray[np.float32]:
    rows = np.asarray(vectors_BD, dtype=np.float32)
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
