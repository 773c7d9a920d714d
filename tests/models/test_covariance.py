"""Pictures that vary as others do, against the definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.covariance import covariance, matching

Floats = NDArray[np.float64]


def two_sets(seed: int = 0) -> tuple[Floats, Floats]:
    """A wide set to choose from, most of which lies close together, and a narrower one."""
    rng = np.random.default_rng(seed)
    common, rare = rng.normal(size=(70, 4)) * (0.2, 0.2, 0.2, 0.2), rng.normal(size=(20, 4)) * (3.0, 1.0, 0.1, 2.0)
    return np.concatenate([common, rare]) + 5.0, rng.normal(size=(200, 4)) * (1.5, 0.5, 0.5, 1.0)


def distance(vectors: Floats, reference: Floats) -> float:
    return float(np.square(np.cov(vectors.T, bias=True) - np.cov(reference.T, bias=True)).sum())


def test_each_choice_is_the_one_that_brings_the_covariance_nearest() -> None:
    candidates, reference = two_sets()
    chosen = matching(candidates, reference, 25).tolist()
    for taken in range(1, 25):
        left = [one for one in range(len(candidates)) if one not in chosen[:taken]]
        best = min(left, key=lambda one: distance(candidates[[*chosen[:taken], one]], reference))
        assert chosen[taken] == best


def test_a_choice_is_far_nearer_than_the_first_ones_or_chance() -> None:
    candidates, reference = two_sets()
    found = distance(candidates[matching(candidates, reference, 30)], reference)
    rng = np.random.default_rng(1)
    by_chance = [distance(candidates[rng.permutation(len(candidates))[:30]], reference) for _ in range(50)]
    assert found < 0.1 * np.median(by_chance)
    assert found < min(by_chance)
    assert np.allclose(covariance(reference), np.cov(reference.T, bias=True))


def test_neither_mean_matters_and_fewer_are_the_first_of_more() -> None:
    candidates, reference = two_sets()
    chosen = matching(candidates, reference, 20).tolist()
    assert matching(candidates + 100.0, reference - 7.0, 20).tolist() == chosen
    assert matching(candidates, reference, 9).tolist() == chosen[:9]
    assert sorted(matching(candidates, reference, len(candidates)).tolist()) == [*range(len(candidates))]


def test_equal_candidates_are_taken_in_their_order() -> None:
    _, reference = two_sets()
    assert matching(np.ones((3, 4), np.float16), reference, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("count", "real", "says"), [(4, 5, "4 of 3"), (0, 5, "0 of 3"), (2, 1, "1 real")])
def test_too_few_vectors_are_an_error_with_their_number(count: int, real: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        matching(np.eye(3), np.eye(real, 3), count)
