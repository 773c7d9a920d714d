"""The pictures of each concept that classifiers may be given, judged. Array names: C concepts, P pictures of each in
the order in which they were drawn, H x W pixels, D values of an image vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """As many pictures of every concept."""

    pictures_CPHWC: NDArray[np.uint8]
    """uint8 [C, P, 64, 64, 3]."""
    score_CP: Floats
    """float32 [C, P]: cosine of a picture to its prompt."""
    margin_CP: Floats
    """float32 [C, P]: the same less the cosine to the counterfactual; NaN for concepts without one."""
    vectors_CPD: Floats
    """float32 [C, P, D]: of unit length."""
    right_CP: NDArray[np.bool_]
    """bool [C, P]: whether the oracle sees the concept; for the report alone."""
    passes_P: NDArray[np.float64]
    """float64 [P]: rows of the transformer that each picture took."""

    @staticmethod
    def joined(parts: Sequence[Pool]) -> Pool:
        """The pictures of several pools of the same concepts, one after the other."""
        axes = {field.name: 0 if field.name == "passes_P" else 1 for field in fields(Pool)}
        return Pool(**{name: np.concatenate([getattr(p, name) for p in parts], axis) for name, axis in axes.items()})

    @staticmethod
    def in_turn(pools: Sequence[Pool], group: int) -> Pool:
        """The pictures of several arms as if their groups were drawn in turn.

        pools: one per arm. Where those of some have ended, the others go on.
        group: pictures that are drawn together.
        """
        if len(pools) == 1:
            return pools[0]
        starts = range(0, max(len(pool.passes_P) for pool in pools), group)
        parts = [pool.part(slice(start, start + group)) for start in starts for pool in pools]
        return Pool.joined(parts)

    def part(self, of_P: slice) -> Pool:
        """Some of the pictures of each concept."""
        table = {field.name: getattr(self, field.name) for field in fields(Pool)}
        return Pool(**{name: a[of_P] if name == "passes_P" else a[:, of_P] for name, a in table.items()})
