"""Noise levels that a group names: its steps are made at them as in diffusers' own pipelines, or it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.errors import ModelError
from models.info import ModelInfo
from models.loading.sampler import sampler_of
from models.spec import Group, ModelSpec
from tests.models.families.test_beginning import edit, left_half, same
from tests.support.family import TOLERANCE, TORA, Toy, apart, only, stock

LEVELS = (1.0, 0.7, 0.2)


def at_levels(group: Group, levels: tuple[float, ...] = LEVELS) -> Group:
    return replace(group, sampling=replace(group.sampling, steps=len(levels), sigmas=levels))


def stock_at(toy: Toy, group: Group, **given: Any) -> Any:
    return stock(toy, replace(group, sampling=replace(group.sampling, sigmas=())), sigmas=[*LEVELS], **given)


@only("sd3", "flux", "cogview4")
def test_the_steps_are_those_of_the_stock_pipeline_with_the_same_levels(toy: Toy) -> None:
    group = at_levels(toy.group())
    told = {"timesteps": [1000 * level for level in LEVELS]} if toy.family.name == "cogview4" else {}
    same(toy.generator.generate([group])[0], stock_at(toy, group, **told))
    scheduler = toy.pipe.scheduler
    assert len(scheduler.timesteps) == len(LEVELS)
    if scheduler.config.shift == 1.0 and not scheduler.config.use_dynamic_shifting:
        assert scheduler.sigmas.tolist() == pytest.approx([*LEVELS, 0.0])
    elsewhere = at_levels(toy.group(), (1.0, 0.4, 0.2))
    assert apart(toy.latents(elsewhere), toy.latents(group)) > 10 * TOLERANCE


@only("flux", "cogview4")
def test_the_samplers_own_levels_named_one_by_one_change_nothing(toy: Toy) -> None:
    """Of CogView4, whose model is told of even steps while the sampler shifts them."""
    own, levels = toy.group(), (1.0, 0.5) if toy.family.name == "flux" else (1.0, 0.001)
    assert apart(toy.latents(at_levels(own, levels)), toy.latents(own)) < TOLERANCE


@pytest.mark.parametrize(("toy", "masked"), [("sd3", False), ("flux", False), ("flux", True)], indirect=["toy"])
def test_from_a_picture_the_last_of_the_levels_are_made(toy: Toy, masked: bool) -> None:
    """As many as the strength says, like the steps of the sampler's own levels."""
    group = at_levels(edit(toy, strength=0.6, mask=left_half() if masked else None))
    steps: list[tuple[int, int]] = []
    made = toy.generator.generate([group], lambda done, of: steps.append((done, of)))[0]
    assert steps == [(1, 2), (2, 2)]
    same(made, stock_at(toy, group))


@only("sd3")
def test_interventions_act_in_shares_of_the_named_steps(toy: Toy) -> None:
    group = toy.group(interventions=(replace(TORA, steps=(0.0, 0.5)),))
    (drawn,) = toy.generator.draw([at_levels(group, (1.0, 0.9, 0.5, 0.1))])
    steps = drawn.edits["tora"].any(axis=(0, 2, 3, 4))
    assert steps.tolist() == [True, True, False, False]


@only("mochi", "cogvideox", "bria")
def test_families_whose_pipelines_take_none_refuse_them(toy: Toy) -> None:
    with pytest.raises(ModelError, match=r"sampling.sigmas = \[1.0, 0.7, 0.2\]: .* takes no noise levels with"):
        toy.generator.generate([at_levels(toy.group())])


@only("sd3")
@pytest.mark.parametrize("sampler", ["FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler"])
def test_samplers_that_are_not_given_them_refuse_them(toy: Toy, sampler: str) -> None:
    """UniPC would be given them by SD3's pipeline, but by those of FLUX would not."""
    scheduler = sampler_of(toy.pipe.scheduler, toy.family, ModelSpec(path="here", scheduler=sampler))
    toy.pipe.scheduler, own = scheduler, toy.pipe.scheduler
    try:
        assert not toy.family.takes_sigmas(toy.pipe)
    finally:
        toy.pipe.scheduler = own
    assert toy.family.takes_sigmas(toy.pipe)


def test_a_model_that_takes_none_is_refused_when_it_is_loaded() -> None:
    """What the generate stage asks, before it draws anything."""
    info = ModelInfo(
        model="m", revision="", family="sd3", dtype="float32", scheduler="Heun", device="cpu", frames_per_second=0
    )
    info.check_sigmas(())
    with pytest.raises(ModelError, match="sd3 takes no noise levels with Heun; leave them out"):
        info.check_sigmas((1.0, 0.5))
