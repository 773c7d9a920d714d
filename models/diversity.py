"""Diversity of a set of feature vectors.

The Vendi score (Friedman and Dieng, TMLR 2023) is the exponential of the Shannon entropy of the eigenvalues of K/n,
with K the cosine similarities: the effective number of distinct items. It grows with the size of the set, so sets of
different size are compared by the average over pairs, which lies in [1, 2] for any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32] | NDArray[np.float64]


def similarities(features: Features) -> NDArray[np.float64]:
    """Cosine similarities of the rows of `features`, float64 [n, n].

    features: float [n, d].
    """
    rows = features.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows @ rows.T


def vendi(features: Features) -> float:
    """Vendi score of the rows of `features`, in [1, n].

    features: float [n, d].
    """
    values = np.linalg.eigvalsh(similarities(features) / len(features))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def average_pair_vendi(features: Features) -> float:
    """Mean Vendi score over all pairs of rows, in [1, 2]; NaN for fewer than two rows.

    features: float [n, d].
    """
    # A pair with cosine c has the eigenvalues (1 + c)/2 and (1 - c)/2.
    cosines = _pairs(similarities(features))
    if len(cosines) == 0:
        return float("nan")
    low = np.clip((1.0 - np.clip(cosines, -1.0, 1.0)) / 2.0, 1e-15, 1.0 - 1e-15)
    entropy = -(low * np.log(low) + (1.0 - low) * np.log1p(-low))
    return float(np.exp(entropy).mean())


def pair_similarity(features: Features) -> float:
    """Mean cosine similarity over all pairs of rows; NaN for fewer than two rows.

    features: float [n, d].
    """
    cosines = _pairs(similarities(features))
    return float(cosines.mean()) if len(cosines) else float("nan")


def nearest(features: Features) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The highest cosine of each row to another row, float32 [n], and that row's index; NaN and 0 for a single row.

    features: float [n, d].
    """
    cosines = similarities(features)
    if len(cosines) < 2:
        return np.full(len(cosines), np.nan, dtype=np.float32), np.arange(len(cosines))
    np.fill_diagonal(cosines, -np.inf)
    index = cosines.argmax(axis=1)
    return cosines.max(axis=1).astype(np.float32), index


@dataclass(frozen=True, kw_only=True, eq=False)
class Diversity:
    """How alike the B images of a group are."""

    nearest_B: NDArray[np.float32] | None
    """float32 [B]: the highest cosine of each image to another one; None for a single image."""
    vendi: float
    """Vendi score, in [1, B]."""
    pair_similarity: float | None
    """Mean cosine over all pairs; None for a single image."""


def diversity_of(features_BD: NDArray[np.float32]) -> Diversity:
    """The diversity of a group.

    features_BD: float32 [B, D], image vectors of unit length.
    """
    several = len(features_BD) > 1
    return Diversity(
        nearest_B=nearest(features_BD)[0] if several else None,
        vendi=vendi(features_BD),
        pair_similarity=pair_similarity(features_BD) if several else None,
    )


def _pairs(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix[np.triu_indices(len(matrix), k=1)]
