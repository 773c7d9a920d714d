"""Many equal small steps y_(k+1) = y_k + g(y_k) with few evaluations of g.

Where g(y_k) changes smoothly with k, the sum of the next m increments is the sum over the polynomial through the last
few of them (a multirevolution method: Calvo, Montijano and Randez, "On the change of step size in multistep codes for
multirevolution methods", 1993; Adams' method with sums in place of integrals). After each leap the polynomial is fitted
again, with the increment at the leap's end; the change of the result bounds the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SINGLE_STEPS, _GROWTH, _SHARE, _POINTS = 6, 1.5, 14, 7
"""Single steps before the first leap; ratio of the lengths of successive leaps, up to 1/14 of all steps; and number of
increments that the polynomial passes through."""

FEWEST_STEPS = 2 * _SHARE
"""Fewest steps for which leaps are faster than single steps."""


@dataclass(frozen=True)
class _Leap:
    """Weights of the last increments, first without and then with the one at the leap's end."""

    predict: Floats
    correct: Floats


def leap(start_GBB: Floats, increment: Callable[[Floats], Floats], steps: int) -> tuple[Floats, Floats]:
    """The state after all steps, float64 [G, B, B], and a bound on the largest entry of its error, float64 [G].

    start_GBB: float64 [G, B, B], the state at the start.
    increment: g; gives a new array at every call.
    steps: `FEWEST_STEPS` or more.
    """
    plan, now = _plan(steps), start_GBB.copy()
    known = np.empty((_SINGLE_STEPS + 1 + len(plan), start_GBB.size))
    for index in range(_SINGLE_STEPS + 1):
        step = increment(now)
        known[index] = step.ravel()
        if index < _SINGLE_STEPS:
            now += step
    errors = np.empty((len(plan), *start_GBB.shape))
    for index, one in enumerate(plan):
        end = _SINGLE_STEPS + 1 + index
        predicted = now + (one.predict @ known[end - len(one.predict) : end]).reshape(now.shape)
        known[end] = increment(predicted).ravel()
        now = now + (one.correct @ known[end + 1 - len(one.correct) : end + 1]).reshape(now.shape)
        np.subtract(now, predicted, out=errors[index])
    return now, np.abs(errors, out=errors).max(axis=(0, 2, 3), initial=0.0)


@lru_cache(maxsize=16)
def _plan(steps: int) -> tuple[_Leap, ...]:
    """The leaps from `_SINGLE_STEPS` to `steps`."""
    places = list(range(_SINGLE_STEPS + 1))
    leaps, length = [], 1.0
    while places[-1] < steps:
        length = min(_GROWTH * length, steps / _SHARE)
        start, stop = places[-1], min(steps, places[-1] + int(length))
        predict = _sum_weights(places[-_POINTS:], start, stop)
        places.append(stop)
        leaps.append(_Leap(predict, _sum_weights(places[-_POINTS - 1 :], start, stop)))
    return tuple(leaps)


def _sum_weights(places: list[int], start: int, stop: int) -> Floats:
    """Weights w such that the sum of w_i p(places_i) is p(start) + ... + p(stop - 1) for all polynomials p of a degree
    below the number of places."""
    scale = stop - places[0]
    powers = np.arange(len(places))[:, None]
    at = (np.array(places) - start) / scale
    summed = (((np.arange(start, stop) - start) / scale) ** powers).sum(axis=1)
    weights: Floats = np.linalg.solve(at**powers, summed)
    return weights
