"""What is new is decided exactly, however the images come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.quota.distinct import ACCEPTED, OVER_QUOTA, Distinct, rounded
from pipelines.quota.spill import Spill


def vectors(count: int, *, dim: int = 6, seed: int = 0) -> NDArray[np.float16]:
    """So few dimensions that many are near each other."""
    values: NDArray[np.float64] = np.random.default_rng(seed).normal(size=(count, dim))
    unit: NDArray[np.float16] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    return unit


def one_by_one(made: NDArray[np.float16], most: int, similarity: float) -> list[int]:
    """The same with whole numbers of any length, which do not round."""
    whole = [[int(value) for value in row] for row in rounded(made)]
    accepted: list[list[int]] = []
    found = []
    for row in whole:
        cosines = []
        for other in accepted:
            dot = sum(a * b for a, b in zip(row, other, strict=True))
            cosines.append(dot / (sum(a * a for a in row) ** 0.5 * sum(a * a for a in other) ** 0.5))
        nearest = max(range(len(cosines)), key=lambda at: cosines[at], default=-1)
        if cosines and cosines[nearest] >= similarity:
            found.append(nearest)
        elif len(accepted) < most:
            accepted.append(row)
            found.append(ACCEPTED)
        else:
            found.append(OVER_QUOTA)
    return found


@pytest.mark.parametrize("size", [1, 4, 7, 200])
def test_images_are_compared_with_all_accepted_ones_whatever_the_size_of_groups(size: int) -> None:
    made = vectors(200)
    distinct = Distinct(3, most=70, similarity=0.9)
    found: list[int] = []
    for start in range(0, len(made), size):
        group = made[start : start + size]
        found += distinct.add(1, group, [f"{start + at}" for at in range(len(group))])
        distinct.add(2, vectors(2, seed=start), ["a", "b"])  # what others have is not looked at
    assert found == one_by_one(made, 70, 0.9)
    assert {ACCEPTED, OVER_QUOTA} < {*found}
    ids = [str(at) for at, what in enumerate(found) if what == ACCEPTED]
    assert [distinct.id_of(1, number) for number in range(70)] == ids
    assert distinct.count_K.tolist()[:2] == [0, 70]


def test_modes_are_counted_by_how_often_they_were_seen_while_there_was_room() -> None:
    a, b, c, d = vectors(4, dim=64)
    distinct = Distinct(1, most=3, similarity=0.99)
    distinct.add(0, np.stack([a, b, a]), ["a", "b", "a2"])
    assert (distinct.sampled_K[0], distinct.once_K[0], distinct.twice_K[0]) == (3, 1, 1)
    distinct.add(0, np.stack([a, a, c, d, b]), ["a3", "a4", "c", "d", "b2"])
    assert (distinct.sampled_K[0], distinct.once_K[0], distinct.twice_K[0]) == (6, 2, 0)


def test_a_spill_gives_back_what_was_written_of_each_owner() -> None:
    spill = Spill(np.dtype(("<i2", (3,))))
    rng = np.random.default_rng(0)
    kept: dict[int, NDArray[np.int16]] = {owner: np.empty((0, 3), np.int16) for owner in range(5)}
    for _ in range(60):
        owner, count = int(rng.integers(5)), int(rng.integers(1, 50))
        first = int(rng.integers(len(kept[owner]) + 1))
        new = rng.integers(-99, 99, (count, 3)).astype(np.int16)
        spill.write(owner, first, new)
        kept[owner] = np.concatenate([kept[owner][:first], new, kept[owner][first + count :]])
        assert np.array_equal(spill.read(owner, len(kept[owner])), kept[owner])
