"""The combinations that the constraints of a template leave, counted exactly and numbered, without a list of them.

A *box* is a product of sets of values. What is allowed is a union of boxes that do not overlap: a constraint cuts
pieces off them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError

Box = tuple[tuple[int, ...], ...]
"""For each slot the numbers of its values, ascending."""

_MOST_BOXES = 10_000


class Combinations:
    """All combinations of values that lie in one of some boxes and in none of some others.

    sizes: number of values of each slot.
    only: boxes; none stands for everything.
    without: boxes.

    Raises:
        UserError: when the boxes cut each other into too many pieces.
    """

    def __init__(self, sizes: Sequence[int], only: Sequence[Box], without: Sequence[Box]) -> None:
        whole: Box = tuple(tuple(range(size)) for size in sizes)
        boxes: list[Box] = []
        for box in only or [whole]:
            boxes += _cut([box], boxes)
        self._boxes = _cut(boxes, without)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(prod(map(len, box)) for box in self._boxes)

    def numbered(self, weights: Sequence[Sequence[int]]) -> Numbered:
        """The combinations with numbers, each as many as the product of its values' weights.

        weights: of each slot's values.
        """
        return Numbered(self._boxes, weights)


class Numbered:
    """Combinations with numbers from 0; see `Combinations.numbered`."""

    def __init__(self, boxes: Sequence[Box], weights: Sequence[Sequence[int]]) -> None:
        self._slots = len(weights)
        self._tables = [
            [np.repeat(values, [of[value] for value in values]) for values, of in zip(box, weights, strict=True)]
            for box in boxes
        ]
        self._ends = [*accumulate(prod(map(len, tables)) for tables in self._tables)]

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return self._ends[-1] if self._ends else 0

    def values(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Which value each slot has: int64 [slots, numbers]. The last slot's changes fastest.

        numbers: below `count`.
        """
        found = np.empty((self._slots, len(numbers)), np.int64)
        box_of = np.searchsorted(np.array(self._ends, np.uint64), numbers, side="right")
        for number in np.unique(box_of):
            here = np.flatnonzero(box_of == number)
            rest = numbers[here] - np.uint64(self._ends[number - 1] if number else 0)
            for slot, table in reversed([*enumerate(self._tables[number])]):
                rest, place = np.divmod(rest, np.uint64(len(table)))
                found[slot, here] = table[place]
        return found


def _cut(boxes: Iterable[Box], off: Iterable[Box]) -> list[Box]:
    """What is left of some boxes without others, as boxes that do not overlap where the first do not."""
    left = [box for box in boxes if all(box)]
    for other in off:
        left = [piece for box in left for piece in _without(box, other)]
        if len(left) > _MOST_BOXES:
            raise UserError(
                f"prompts.template: only and not_together cut the combinations into more than {_MOST_BOXES:,} pieces; "
                "use fewer tables, with arrays of values"
            )
    return left


def _without(box: Box, other: Box) -> Iterator[Box]:
    """`box` without what it shares with `other`: for each slot what lies outside of `other` there and inside before."""
    shared = [tuple(sorted({*mine} & {*theirs})) for mine, theirs in zip(box, other, strict=True)]
    if not all(shared):
        yield box
        return
    for slot, (mine, both) in enumerate(zip(box, shared, strict=True)):
        if outside := tuple(sorted({*mine} - {*both})):
            yield (*shared[:slot], outside, *box[slot + 1 :])
