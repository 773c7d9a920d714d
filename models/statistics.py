"""Intervals for means of clustered measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap(clusters: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Estimate:
    """Mean over all values, with a percentile interval from resampling whole clusters (Efron 1979).

    clusters: one array per cluster (a prompt, say, with one value per image), so that values which vary together are
    drawn together.
    """
    sums = np.array([c.sum() for c in clusters], dtype=np.float64)
    counts = np.array([len(c) for c in clusters], dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(clusters), size=(_RESAMPLES, len(clusters)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(mean=float(sums.sum() / counts.sum()), low=float(low), high=float(high))


def share(right: int, total: int) -> Estimate:
    """A share with its Wilson 95 % interval, which stays honest near 0 and 1."""
    z = 1.959964
    p = right / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * float(np.sqrt(p * (1 - p) / total + z * z / (4 * total * total)))
    return Estimate(mean=p, low=max(0.0, centre - half), high=min(1.0, centre + half))
