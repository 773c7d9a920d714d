"""What an evaluation measures of pictures that the oracle has read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.embedded import measures
from models.embedded.attributes import NAMES, labels_of
from models.embedded.measures import KernelSums
from models.embedded.oracle import Reading
from models.embedded.world import Scene, Thing


def test_measures() -> None:
    def scene(colour: str, background: str) -> Scene:
        things = (Thing(shape="star", colour=colour, texture="plain"),)
        return Scene(arrangement="single", things=things, background=background, size="small", position="left")

    labels = np.stack(
        [labels_of(scene("red", "snow")), labels_of(scene("blue", "sky")), labels_of(scene("red", "sky"))]
    )
    reading = Reading(
        labels=labels, confidence=np.full((3, len(NAMES)), 0.5, np.float32), features=np.eye(3, dtype=np.float32)
    )
    assert measures.success("a red star", reading).tolist() == [1.0, 0.0, 1.0]
    # Open: background 2, size 1, position 1, colour 2, texture 1 values.
    assert measures.distinct_values("a star", reading) == pytest.approx(7 / 5)
    # Two of the three are red, and differ in the background.
    assert measures.distinct_right("a red star", reading) == 2
    assert measures.distinct_right_values("a red star", reading) == pytest.approx(5 / 4)
    assert measures.distinct_right("a star on sky", reading) == 2
    assert measures.distinct_right("a circle", reading) == measures.distinct_right_values("a circle", reading) == 0
    again = Reading(labels=labels[[0, 0, 2]], confidence=reading.confidence, features=reading.features)
    assert measures.distinct_right("a red star", again) == 2
    assert measures.pair_vendi(reading) == pytest.approx(2.0)
    assert measures.confidence("a star", reading).tolist() == [0.5] * 3


def test_kernel_distance_tells_sets_apart() -> None:
    rng = np.random.default_rng(0)

    def features(shift: float) -> list[Any]:
        return [rng.normal(shift, 1, (6, 8)).astype(np.float32) for _ in range(20)]

    real, every = features(0.0), np.ones(20)
    sums = measures.kernel_sums(real, real)
    same, other = (KernelSums.of(features(shift), real, sums).distance(every) for shift in (0.0, 1.0))
    assert abs(same) < 0.2 < 1.0 < other


def test_real_pictures_show_what_is_named() -> None:
    pictures = measures.real_pictures("a purple star on snow", 3, np.random.default_rng(0))
    assert pictures.shape == (3, 64, 64, 3)
    assert len({picture.tobytes() for picture in pictures}) == 3
