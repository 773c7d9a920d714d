"""Near-duplicates in blocks, and how two sets of pictures cover each other, against the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models import alike
from models import coverage as module
from models.alike import repeats
from models.coverage import coverage


def in_the_plane(*degrees: float) -> NDArray[np.float16]:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float16)


def one_by_one(vectors_ND: NDArray[np.float16], similarity: float) -> list[int]:
    unit_ND = vectors_ND.astype(np.float64)
    unit_ND /= np.linalg.norm(unit_ND, axis=1, keepdims=True)
    originals: list[int] = []
    first: list[int] = []
    for number, vector_D in enumerate(unit_ND):
        alike_to = [one for one in originals if unit_ND[one] @ vector_D >= similarity]
        first.append(alike_to[0] if alike_to else -1)
        if not alike_to:
            originals.append(number)
    return first


@pytest.mark.parametrize("block", [3, 7, 64])
def test_repeats_are_those_of_a_loop_over_all(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(alike, "_BLOCK", block)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 8))
    vectors = (centres[rng.integers(12, size=60)] + 0.35 * rng.normal(size=(60, 8))).astype(np.float16)
    first_N, cosine_N = repeats(vectors, 0.9)
    assert first_N.tolist() == one_by_one(vectors, 0.9)
    assert 10 < (first_N >= 0).sum() < 50
    assert (cosine_N[first_N >= 0] >= 0.9).all()
    assert not cosine_N[first_N < 0].any()


def test_a_repeat_is_none_that_others_can_repeat() -> None:
    first_N, _ = repeats(in_the_plane(0, 20, 40, 60), float(np.cos(np.deg2rad(25))))
    assert first_N.tolist() == [-1, 0, -1, 2]
    assert repeats(in_the_plane(10, 30, 10), 1.0)[0].tolist() == [-1, -1, 0]  # at 1 equal vectors alone
    assert repeats(in_the_plane()[:0], 0.9)[0].tolist() == []


def by_definition(real: NDArray[np.float64], made: NDArray[np.float64], k: int) -> tuple[float, float, float, float]:
    """As in the authors' code."""

    def radii(points: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, k]
        return found

    distance_NM = np.linalg.norm(real[:, None] - made[None], axis=2)
    in_real_NM = distance_NM < radii(real)[:, None]
    return (
        float(in_real_NM.any(0).mean()),
        float((distance_NM < radii(made)[None]).any(1).mean()),
        float(in_real_NM.sum(0).mean() / k),
        float((distance_NM.min(1) < radii(real)).mean()),
    )


@pytest.mark.parametrize("k", [1, 4])
def test_the_measures_are_those_of_their_definition(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = np.random.default_rng(2)
    real, made = rng.normal(size=(40, 3)), 0.7 * rng.normal(size=(25, 3)) + 0.4
    found = coverage(real, made, k)
    expected = by_definition(real, made, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)
    assert 0.1 < found.coverage < 0.95


def test_few_modes_cover_little_and_an_outlier_costs_precision() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(100, 4))
    same, narrow = (
        coverage(real, rng.normal(size=(100, 4))),
        coverage(real, real[:1] + 0.01 * rng.normal(size=(100, 4))),
    )
    far = coverage(real, rng.normal(size=(100, 4)) + 50.0)
    assert narrow.coverage < 0.5 < same.coverage
    assert narrow.recall < 0.2 < same.recall
    assert (far.precision, far.coverage) == (0.0, 0.0)
    with pytest.raises(ValueError, match="5 made pictures: k = 5 needs 6 or more"):
        coverage(real, real[:5])
