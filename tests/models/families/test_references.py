"""Pictures that FLUX.2 may look at: tokens behind those of the image, of which the text knows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.errors import PromptError
from tests.models.families.test_groups import same_but_for_rounding
from tests.support.family import BOTH, TOLERANCE, Toy, apart, only, picture, stock

pytestmark = only("flux2", "flux2-klein")
TWO = (picture(height=64, width=72), picture(dark=True, height=64, width=64))


def test_with_pictures_it_is_the_stock_pipeline(toy: Toy) -> None:
    looking = replace(toy, pictures=TWO)
    made = toy.generator.generate([looking.group()])[0]
    same_but_for_rounding(made, stock(looking))
    assert (made != toy.generator.generate([toy.group()])[0]).any()


def test_interventions_act_on_the_same_text(toy: Toy) -> None:
    group = toy.group(pictures=TWO)
    with_pictures, without = (toy.generator._texts.encode("a red star", given, toy.sampling) for given in (TWO, ()))
    assert torch.equal(with_pictures.own_N, without.own_N)
    assert torch.equal(with_pictures.arguments["prompt_embeds"], without.arguments["prompt_embeds"])
    assert apart(toy.outputs(replace(group, **BOTH)), toy.outputs(group)) > 5 * TOLERANCE


def test_groups_with_other_pictures_are_made_one_after_the_other(toy: Toy) -> None:
    groups = [toy.group(pictures=TWO), toy.group("a blue ring", (21, 22, 23), pictures=TWO[::-1])]
    together = toy.outputs(*groups).chunk(2)
    for group, made in zip(groups, together, strict=True):
        assert torch.equal(made, toy.outputs(group))


def test_a_picture_that_is_too_small_or_too_long_is_an_error_of_its_prompt(toy: Toy) -> None:
    for wrong in (picture(), picture(height=64, width=600)):
        with pytest.raises(PromptError, match=r"an input picture is not one that the model takes: .*(64px|8:1)"):
            toy.generator.generate([toy.group(pictures=(wrong,))])
    most = toy.family.pictures[1]
    with pytest.raises(PromptError, match=f"takes at most {most} input pictures"):
        toy.generator.generate([toy.group(pictures=TWO[:1] * (most + 1))])
