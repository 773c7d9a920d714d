"""Means of clustered measurements, their 95 % intervals (by resampling, and from running sums), and their Pareto front.

Images of a group share a prompt and influence each other, so they are not independent samples: every interval treats
the group (or the prompt) as the sampling unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RESAMPLES = 2000
_NORMAL_975 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    """The mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap(clusters: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Estimate:
    """Mean over all values, with a percentile interval from resampling whole clusters (Efron 1979).

    clusters: one array per cluster, for example a prompt with one value per image.
    seed: of the resampling.
    """
    mean, means = _resampled(clusters, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(mean=mean, low=float(low), high=float(high))


def simultaneous(several: Sequence[Sequence[NDArray[np.float64]]], *, seed: int = 0) -> list[Estimate]:
    """Means with intervals that hold all together with 95 %, so that the best of them may be named.

    Each is as many standard errors wide as the largest error among all of them is in 95 % of the resamples (Westfall
    and Young 1993, single step), and wider by as much as Student's t is wider than a normal distribution.

    several: clusters as for `bootstrap`, two or more, all of the same prompts in the same order.
    seed: of the resampling.
    """
    drawn = [_resampled(clusters, seed) for clusters in several]
    errors = [float(means.std()) for _, means in drawn]
    largest = np.zeros(_RESAMPLES)
    for (mean, means), error in zip(drawn, errors, strict=True):
        if error > 0:
            largest = np.maximum(largest, np.abs(means - mean) / error)
    clusters = len(several[0])
    few = math.sqrt(clusters / (clusters - 1)) * student_t_975(clusters - 1) / _NORMAL_975
    width = float(np.quantile(largest, 0.95)) * few
    return [
        Estimate(mean=mean, low=mean - width * error, high=mean + width * error)
        for (mean, _), error in zip(drawn, errors, strict=True)
    ]


def _resampled(clusters: Sequence[NDArray[np.float64]], seed: int) -> tuple[float, Floats]:
    """Mean over all values, and the means of the resamples."""
    sums = np.array([c.sum() for c in clusters], dtype=np.float64)
    counts = np.array([len(c) for c in clusters], dtype=np.float64)
    times = _times(len(clusters), seed)
    means: Floats = (times @ sums) / (times @ counts)
    return float(sums.sum() / counts.sum()), means


@lru_cache(maxsize=8)
def _times(clusters: int, seed: int) -> Floats:
    """How often each resample has each cluster, float64 [resamples, clusters]."""
    draws = np.random.default_rng(seed).integers(clusters, size=(_RESAMPLES, clusters))
    times = np.zeros(draws.shape)
    np.add.at(times, (np.arange(_RESAMPLES)[:, None], draws), 1.0)
    return times


def crossed(values_RC: Floats, *, seed: int = 0) -> Estimate:
    """Mean of a table, with a percentile interval from resampling its rows and its columns, each as a whole (Owen
    2007): for values that share a chance event with their row, and another with their column.

    values_RC: float64 [rows, columns], for example trainings and classes.
    seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n for n in values_RC.shape]
    means = np.einsum("br,rc,bc->b", weights[0], values_RC, weights[1], optimize=True)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(mean=float(values_RC.mean()), low=float(low), high=float(high))


def share(right: int, total: int) -> Estimate:
    """A share with its Wilson 95 % interval, which holds its coverage near 0 and 1 (Wilson 1927).

    right: how many of `total` count.
    total: 1 or more.
    """
    z = _NORMAL_975
    p = right / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * float(np.sqrt(p * (1 - p) / total + z * z / (4 * total * total)))
    return Estimate(mean=p, low=max(0.0, centre - half), high=min(1.0, centre + half))


_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % points of Student's t for 1 to 10 degrees of freedom."""


def student_t_975(degrees: int) -> float:
    """97.5 % point of Student's t, to 0.001: from a table, then from Fisher's expansion.

    degrees: degrees of freedom, 1 or more.
    """
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = _NORMAL_975
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Sums over groups g, of n_g values with the sum s_g, that give the mean of all values and its interval, with the
    group as the sampling unit."""

    values: int = 0
    """Sum of n_g."""
    groups: int = 0
    """Number of groups with a value."""
    total: float = 0.0
    """Sum of s_g."""
    squares: float = 0.0
    """Sum of s_g^2."""
    products: float = 0.0
    """Sum of s_g n_g."""
    size_squares: float = 0.0
    """Sum of n_g^2."""

    @staticmethod
    def of(sums: Floats, sizes: NDArray[np.int64]) -> Mean:
        """The sums over some groups; groups of size 0 do not count.

        sums: float64 [g], s_g.
        sizes: int64 [g], n_g.
        """
        sums, sizes = sums[sizes > 0], sizes[sizes > 0]
        return Mean(
            values=int(sizes.sum()),
            groups=len(sizes),
            total=float(sums.sum()),
            squares=float((sums**2).sum()),
            products=float((sums * sizes).sum()),
            size_squares=float((sizes.astype(np.float64) ** 2).sum()),
        )

    def __add__(self, other: Mean) -> Mean:
        return Mean(
            values=self.values + other.values,
            groups=self.groups + other.groups,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            products=self.products + other.products,
            size_squares=self.size_squares + other.size_squares,
        )

    @property
    def mean(self) -> float | None:
        """Mean over all values; None without values."""
        return self.total / self.values if self.values else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % interval; None with fewer than two groups."""
        if self.groups < 2:
            return None
        mean = self.total / self.values
        spread = max(0.0, self.squares - 2 * mean * self.products + mean**2 * self.size_squares)
        variance = spread * self.groups / (self.groups - 1) / self.values**2
        return student_t_975(self.groups - 1) * math.sqrt(variance)


def beaten(point: tuple[float, float], points: Iterable[tuple[float, float]]) -> bool:
    """Whether one of the points has at least as much of both measures, and more of one: then it is off the Pareto
    front.

    point: its two measures, of which more is better.
    points: all of them; `point` may be among them.
    """
    return any(one != point and one[0] >= point[0] and one[1] >= point[1] for one in points)
