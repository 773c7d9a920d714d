"""Many equal small steps y_(k+1) = y_k + g(y_k) for the price of few.

Where g(y_k) changes smoothly with k, the sum of the next m increments is the sum over the polynomial through the last
few of them (a multirevolution method: Calvo, Montijano and Randez, "On the change of step size in multistep codes for
multirevolution methods", 1993; Adams' method with sums in place of integrals). After each leap the polynomial is drawn
again through the increment at its end; how much that changes the result bounds the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SINGLE_STEPS, _GROWTH, _POINTS = 8, 1.1, 6
"""Steps before the first leap, how much longer each leap is than the last, and increments that a polynomial takes."""

FEWEST_STEPS = 4 * _SINGLE_STEPS
"""Below, nothing is saved."""


@dataclass(frozen=True)
class _Leap:
    """Weights of the last increments, first without and then with the one at the leap's end."""

    predict: Floats
    correct: Floats


def leap(start_GBB: Floats, increment: Callable[[Floats], Floats], steps: int) -> tuple[Floats, Floats]:
    """Where `steps` steps lead, float64 like `start_GBB` [G, ...], and a bound on the error's largest entry, [G].

    increment: g, a new array at every call.
    """
    now, error_G = start_GBB.copy(), np.zeros(len(start_GBB))
    known: list[Floats] = []
    for _ in range(_SINGLE_STEPS):
        known.append(increment(now))
        now += known[-1]
    known.append(increment(now))
    for one in _plan(steps):
        predicted = now + _weighted(one.predict, known)
        known = [*known[1 - len(one.correct) :], increment(predicted)]
        now = now + _weighted(one.correct, known)
        np.maximum(error_G, np.abs(now - predicted).max(axis=(1, 2)), out=error_G)
    return now, error_G


def _weighted(weights: Floats, increments: list[Floats]) -> Floats:
    chosen = increments[-len(weights) :]
    total: Floats = weights[0] * chosen[0]
    for weight, one in zip(weights[1:], chosen[1:], strict=True):
        total += weight * one
    return total


@lru_cache(maxsize=16)
def _plan(steps: int) -> tuple[_Leap, ...]:
    """The leaps from `_SINGLE_STEPS` to `steps`."""
    places = list(range(_SINGLE_STEPS + 1))
    leaps, length = [], 1.0
    while places[-1] < steps:
        length *= _GROWTH
        start, stop = places[-1], min(steps, places[-1] + int(length))
        predict = _sum_weights(places[-_POINTS:], start, stop)
        places.append(stop)
        leaps.append(_Leap(predict, _sum_weights(places[-_POINTS - 1 :], start, stop)))
    return tuple(leaps)


def _sum_weights(places: list[int], start: int, stop: int) -> Floats:
    """w such that the sum of w_i p(places_i) is p(start) + ... + p(stop - 1) for all polynomials p of that degree."""
    scale = stop - places[0]
    powers = np.arange(len(places))[:, None]
    at = (np.array(places) - start) / scale
    summed = (((np.arange(start, stop) - start) / scale) ** powers).sum(axis=1)
    weights: Floats = np.linalg.solve(at**powers, summed)
    return weights
