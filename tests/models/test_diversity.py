"""Diversity measures against their definitions."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import diversity
from models.seeds import image_seed


def features(seed: int, rows: int, columns: int = 5) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def test_extremes() -> None:
    assert math.isclose(diversity.vendi(np.eye(4, dtype=np.float32)), 4.0, rel_tol=1e-6)
    assert math.isclose(diversity.vendi(np.ones((4, 3), dtype=np.float32)), 1.0, rel_tol=1e-6)
    assert math.isnan(diversity.average_pair_vendi(features(0, 1)))
    assert np.isnan(diversity.nearest(features(0, 1))[0]).all()


@given(st.integers(0, 10_000), st.integers(2, 8))
def test_pair_vendi_is_the_mean_over_pairs(seed: int, rows: int) -> None:
    x = features(seed, rows)
    pairs = [diversity.vendi(x[[i, j]]) for i in range(rows) for j in range(i)]
    assert math.isclose(diversity.average_pair_vendi(x), float(np.mean(pairs)), rel_tol=1e-5)
    assert 1.0 <= diversity.vendi(x) <= rows + 1e-9


def test_nearest() -> None:
    x = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
    similarity, index = diversity.nearest(x)
    assert index.tolist() == [1, 0, 1]
    assert similarity[0] > 0.99


def test_seeds_depend_on_each_part() -> None:
    seeds = {image_seed(run, prompt, index) for run in (0, 1) for prompt in ("a", "b", "a\x001") for index in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)
