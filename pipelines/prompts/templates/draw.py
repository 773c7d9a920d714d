"""Which combinations of a template are taken, and in which order, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.templates.combinations import Numbered
from pipelines.prompts.templates.permutation import Permutation

Values = NDArray[np.int64]
"""int64 [slots, combinations]: the number of each slot's value."""

_CHUNK = 8192
_MOST_DRAWS = 100
"""Draws for each combination of a weighted sample, on average, after which it is given up."""
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that multiplication by it gives each number another one: hashes for `HashSet`."""


def in_order(combinations: Numbered) -> Iterator[Values]:
    """All of them."""
    for start in range(0, combinations.count, _CHUNK):
        yield combinations.values(np.arange(start, min(start + _CHUNK, combinations.count), dtype=np.uint64))


def drawn(
    combinations: Numbered, weights: Sequence[Sequence[int]], sample: int, seed: int, at: str
) -> Iterator[Values]:
    """Different ones in the order of a permutation, of which a shorter sample is the beginning.

    combinations: with as many numbers as their weights say; one that has several is taken at the first that is drawn.
    weights: of each slot's values.
    sample: how many, at most as many as there are.
    seed: of the permutation.
    at: name of the template, for messages.

    Raises:
        UserError: when what has large weights is drawn again and again.
    """
    repeats = any(weight != 1 for of in weights for weight in of)
    order, seen, left = Permutation(combinations.count, seed), HashSet(), sample
    most = _MOST_DRAWS * max(sample, _CHUNK)
    for start in range(0, min(combinations.count, most), _CHUNK):
        places = np.arange(start, min(start + _CHUNK, combinations.count), dtype=np.uint64)
        values = combinations.values(order(places))
        if repeats:
            values = values[:, [*_first_seen(values, weights, seen)]]
        yield values[:, :left]
        left -= values.shape[1]
        if left <= 0:
            return
    raise UserError(
        f"{at}: after {most:,} draws there are still not {sample:,} different combinations: what has a large weight "
        "comes again and again. Set a smaller sample, or weights that differ less"
    )


def _first_seen(values: Values, weights: Sequence[Sequence[int]], seen: HashSet) -> Iterator[int]:
    number = np.zeros(values.shape[1], np.uint64)
    for of, each in zip(values, weights, strict=True):
        number = number * np.uint64(len(each)) + of.astype(np.uint64)
    for place, one in enumerate((number * np.uint64(_SPREAD)).tolist()):
        if one not in seen:
            seen.add(one)
            yield place
