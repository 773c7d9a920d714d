"""What a certificate says of the modes that were not seen holds where their true number is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.embedded import world
from models.embedded.world import Scene, sample_scene
from pipelines.quota.estimate import Unseen, unseen, wilson

CONCEPTS = [(colour, shape) for shape in world.SHAPES for colour in world.COLOURS[:5]]
MODES = len(world.BACKGROUNDS) * len(world.SIZES) * len(world.POSITIONS)
"""Pictures of the world that show a thing of a given shape, colour and texture alone."""


def shown(scene: Scene) -> tuple[str, str | None, str | None]:
    return scene.background, scene.size, scene.position


def filled(quota: int, most: int, rng: np.random.Generator) -> tuple[Unseen, int, float]:
    """A quota of scenes drawn from the world; the estimate, how many modes are unseen, and how likely the next is."""
    seen: dict[object, int] = {}
    sampled = 0
    while sampled < most and len(seen) < quota:
        scene = sample_scene(rng)
        if scene.arrangement == "single":
            sampled += 1
            seen[shown(scene)] = seen.get(shown(scene), 0) + 1
    counts = [*seen.values()]
    missing = MODES - len(seen)
    return unseen(sampled, len(seen), counts.count(1), counts.count(2)), missing, missing / MODES


@pytest.mark.parametrize(("quota", "most"), [(10, 100), (60, 100), (90, 300)])
def test_its_90_percent_intervals_hold_for_at_least_85_percent_of_concepts(quota: int, most: int) -> None:
    rng = np.random.default_rng(quota)
    modes = share = 0
    for _ in CONCEPTS:
        found, missing, chance = filled(quota, most, rng)
        modes += found.modes.low - 0.5 <= missing <= found.modes.high + 0.5
        share += found.share.low - 0.01 <= chance <= found.share.high + 0.01
    assert modes >= 0.85 * len(CONCEPTS)
    assert share >= 0.85 * len(CONCEPTS)


RANK = np.arange(1, 301)
LAWS = {
    "equal": np.ones(300),
    "two kinds": np.where(RANK <= 60, 10.0, 1.0),
    "1/rank": 1 / RANK,
    "geometric": 0.98**RANK,
}
"""Chances of 300 modes, but for their sum."""


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("images", [50, 100, 300, 1000])
def test_the_lower_end_holds_whatever_the_chances_of_the_modes(law: str, images: int) -> None:
    """The upper end holds where they are equal; where some are far rarer than others nothing bounds their number."""
    chances = LAWS[law] / LAWS[law].sum()
    low = high = share = 0
    samples = np.random.default_rng(images).multinomial(images, chances, size=200)
    for times in samples:
        once, twice, seen = (int(which.sum()) for which in (times == 1, times == 2, times > 0))
        found = unseen(images, seen, once, twice)
        low += found.modes.low - 0.5 <= len(chances) - seen
        high += len(chances) - seen <= found.modes.high + 0.5
        share += found.share.low - 0.01 <= float(chances[times == 0].sum()) <= found.share.high + 0.01
    assert low >= 0.94 * len(samples)
    assert share >= 0.85 * len(samples)
    if law == "equal":
        assert high >= 0.94 * len(samples)


def test_its_intervals_are_not_just_wide() -> None:
    found, missing, _ = filled(60, 100, np.random.default_rng(0))
    assert found.modes.high < 4 * missing
    assert found.share.high - found.share.low < 0.35


def test_without_repeats_nothing_is_known_but_a_lower_bound() -> None:
    found = unseen(sampled=40, modes=40, once=40, twice=0)
    assert math.isinf(found.modes.value)
    assert math.isinf(found.modes.high)
    assert 200 < found.modes.low < 300
    assert unseen(0, 0, 0, 0).share.high == 1.0


def test_where_all_is_seen_many_times_nothing_is_expected() -> None:
    found = unseen(sampled=400, modes=6, once=0, twice=0)
    assert (found.modes.value, found.share.value) == (0, 0)
    assert found.modes.high <= 1
    assert found.share.high < 0.01


def test_a_share_of_none_has_an_upper_end() -> None:
    none, all_of_them = wilson(0, 1600), wilson(40, 40)
    assert (none.value, none.low) == (0, 0)
    assert 0.001 < none.high < 0.002
    assert all_of_them.low > 0.9
