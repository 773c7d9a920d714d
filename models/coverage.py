"""How two sets of pictures cover each other (Naeem et al., ICML 2020): precision, recall, density and coverage.

A picture's ball reaches to its k-th nearest neighbour in its own set. Distances are Euclidean, in whatever space the
vectors are of. Array names: N real pictures, M made ones, D values of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The four measures."""

    precision: float
    """Share of the made pictures that lie in the ball of a real one."""
    recall: float
    """Share of the real pictures that lie in the ball of a made one."""
    density: float
    """In how many balls of real pictures a made one lies, over k; not bounded by 1."""
    coverage: float
    """Share of the real pictures whose ball holds a made one."""


def coverage(real_ND: NDArray[Any], made_MD: NDArray[Any], k: int = 5) -> Coverage:
    """The measures of two sets, in blocks of their distances.

    real_ND, made_MD: the vectors, more than k of each.
    k: the neighbour to which a ball reaches.

    Raises:
        ValueError: when a set is too small.
    """
    for name, vectors in (("real", real_ND), ("made", made_MD)):
        if len(vectors) <= k:
            raise ValueError(f"{len(vectors)} {name} pictures: k = {k} needs {k + 1} or more")
    real_N, made_M = _radii(real_ND, k), _radii(made_MD, k)
    inside_M, seen_N = np.zeros(len(made_MD), dtype=np.int64), np.zeros(len(real_ND), dtype=bool)
    covered_N = np.zeros(len(real_ND), dtype=bool)
    for start, distance_BM in _distances(real_ND, made_MD):
        rows = slice(start, start + len(distance_BM))
        in_real_BM = distance_BM < real_N[rows, None]
        inside_M += in_real_BM.sum(0)
        covered_N[rows] = in_real_BM.any(1)
        seen_N[rows] = (distance_BM < made_M).any(1)
    return Coverage(
        precision=float((inside_M > 0).mean()),
        recall=float(seen_N.mean()),
        density=float(inside_M.mean() / k),
        coverage=float(covered_N.mean()),
    )


def _radii(vectors_ND: NDArray[Any], k: int) -> Floats:
    """The distance of each vector to its k-th nearest other one, float32 [N]."""
    radii = [np.partition(distance_BN, k, axis=1)[:, k] for _, distance_BN in _distances(vectors_ND, vectors_ND)]
    return np.concatenate(radii)  # the nearest of all is the vector itself


def _distances(vectors_ND: NDArray[Any], others_MD: NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """The first row of a block, and its distances to all others, float32 [B, M]."""
    others = np.asarray(others_MD, dtype=np.float32)
    squares_M = np.square(others).sum(1)
    for start in range(0, len(vectors_ND), _BLOCK):
        block = np.asarray(vectors_ND[start : start + _BLOCK], dtype=np.float32)
        squared = np.square(block).sum(1)[:, None] + squares_M - 2.0 * block @ others.T
        yield start, np.sqrt(np.maximum(squared, 0.0))
