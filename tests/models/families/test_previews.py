"""Images that are seen while they are made: what a family's pipeline would show, and nothing of the run changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import previews
from models.embedded import WEIGHTS
from models.generator import Generator
from models.previews import Previews, steps_of_previews
from models.spec import Group, ModelSpec
from pipelines.config.recommended import settings_of
from tests.support.family import SEEDS, Toy

Seen = list[tuple[int, NDArray[np.uint8]]]


@pytest.fixture
def shown(toy: Toy) -> Toy:
    if not toy.generator.info.previews:
        pytest.skip(f"{toy.family.name} shows no images while they are made")
    return toy


def seen(generator: Generator, *groups: Any, wanted: tuple[int, ...]) -> tuple[list[NDArray[np.uint8]], Seen]:
    found: Seen = []
    asked = Previews(wanted=wanted, send=lambda group, pixels: found.append((group, pixels)))
    return [drawn.pixels for drawn in generator.draw(groups, previews=asked)], found


def test_where_no_noise_is_left_a_preview_is_the_image(shown: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """So latents are unpacked, scaled and decoded as the pipeline does it."""
    monkeypatch.setattr(previews, "steps_of_previews", lambda wanted, steps: frozenset([steps] * wanted))
    groups = [shown.group(seeds=SEEDS[:2]), shown.group(seeds=SEEDS[1:])]
    made, found = seen(shown.generator, *groups, wanted=(0, 1))
    (group, preview) = found[0]
    assert (len(found), group) == (1, 1)
    np.testing.assert_allclose(preview.astype(int), made[1].astype(int), atol=1)


def test_previews_are_small_and_change_no_bit(shown: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    width, height = shown.sampling.width, shown.sampling.height
    monkeypatch.setattr(previews, "_LONGEST_SIDE", max(width, height) // 2)
    group = shown.group(sampling=replace(shown.sampling, steps=4))
    made, found = seen(shown.generator, group, wanted=(2,))
    assert [pixels.shape for _, pixels in found] == [(len(SEEDS), height // 2, width // 2, 3)] * 2
    np.testing.assert_array_equal(made[0], shown.generator.generate([group])[0])


@pytest.mark.parametrize("scheduler", ["", "FlowMatchHeunDiscreteScheduler"])
def test_previews_come_nearer_to_the_image(scheduler: str) -> None:
    generator = Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype="float32", scheduler=scheduler))
    sampling = settings_of(str(WEIGHTS / "pipeline")).sampling
    group = Group(prompt="a red star on grass", seeds=(1, 2), sampling=replace(sampling, steps=8))
    (made,), found = seen(generator, group, wanted=(3,))
    far = [np.abs(preview.astype(int) - made.astype(int)).mean() for _, preview in found]
    of_another = np.abs(made[0].astype(int) - made[1].astype(int)).mean()
    assert len(far) == 3
    assert of_another > far[0] > far[1] > far[2]


def test_steps_of_previews() -> None:
    assert steps_of_previews(3, 28) == {7, 14, 21}
    assert steps_of_previews(1, 4) == {2}
    assert steps_of_previews(3, 4) == {2, 3}
    assert steps_of_previews(3, 2) == steps_of_previews(0, 28) == frozenset()
