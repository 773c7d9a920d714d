"""Chooses pictures whose vectors vary as those of others do (Rezaei et al., ICLR 2026, arXiv 2510.08123).

In a linear model that is trained on real and made pictures, the error depends on how the covariances of both differ,
and not on their means. Greedy, as in the paper: each step takes the picture after which the covariance of all that were
taken is nearest to the wanted one, by the sum of squared differences. Array names: N candidates, M real pictures, K
chosen candidates, D values of a vector.

With m and V the mean and the covariance of t vectors, one more x makes V' = (1 - w) V + w (1 - w) d d^T, where
d = x - m and w = 1 / (t + 1). So |V' - C|^2 is, but for a constant, 2 u d^T B d + u^2 |d|^4 with B = (1 - w) V - C and
u = w (1 - w): three products of each candidate with one vector, as x^T V x is kept up to date.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def covariance(vectors_MD: NDArray[Any]) -> Floats:
    """The covariance of vectors about their mean, float64 [D, D].

    vectors_MD: one or more.
    """
    centred_MD = _centred(vectors_MD)
    result: Floats = centred_MD.T @ centred_MD / len(centred_MD)
    return result


def matching(candidates_ND: NDArray[Any], reference_MD: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Numbers of the chosen candidates, int64 [K], in the order in which they were taken: fewer are the first of more.
    The same vectors give the same choice; equally good candidates are taken in their order.

    About 3 N K D products, with the candidates in memory as float64.

    candidates_ND: the vectors to choose from.
    reference_MD: the vectors whose covariance is wanted, two or more.
    count: K, at least 1 and at most N.

    Raises:
        ValueError: when there are too few vectors.
    """
    if len(reference_MD) < 2:
        raise ValueError(f"{len(reference_MD)} real pictures: a covariance needs 2 or more")
    if not 1 <= count <= len(candidates_ND):
        raise ValueError(f"{count} of {len(candidates_ND)} candidates: needs at least 1, and at most all of them")
    wanted_DD, x_ND = covariance(reference_MD), _centred(candidates_ND)
    square_N = np.vecdot(x_ND, x_ND)
    wanted_N = np.vecdot(x_ND @ wanted_DD, x_ND)
    chosen, open_N = [int(square_N.argmin())], np.ones(len(x_ND), dtype=bool)
    sum_D, products_DD, products_N = np.zeros(x_ND.shape[1]), np.zeros_like(wanted_DD), np.zeros(len(x_ND))
    while True:
        new_D, taken = x_ND[chosen[-1]], len(chosen)
        open_N[chosen[-1]] = False
        if taken == count:
            return np.array(chosen, dtype=np.int64)
        sum_D, products_DD = sum_D + new_D, products_DD + np.outer(new_D, new_D)
        mean_D, weight = sum_D / taken, 1 / (taken + 1)
        step_DD = (1 - weight) * (products_DD / taken - np.outer(mean_D, mean_D)) - wanted_DD
        new_N, mean_N, step_N = (x_ND @ np.stack([new_D, mean_D, step_DD @ mean_D], axis=1)).T
        products_N += new_N**2
        spread_N = (1 - weight) * (products_N / taken - mean_N**2) - wanted_N - 2 * step_N + mean_D @ step_DD @ mean_D
        length_N = square_N - 2 * mean_N + mean_D @ mean_D
        error_N = 2 * spread_N + weight * (1 - weight) * length_N**2
        chosen.append(int(np.where(open_N, error_N, np.inf).argmin()))


def _centred(vectors_ND: NDArray[Any]) -> Floats:
    wide_ND: Floats = np.asarray(vectors_ND, dtype=np.float64)
    result: Floats = wide_ND - wide_ND.mean(0)
    return result
