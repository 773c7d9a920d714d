"""Image to image and inpainting: diffusers' own pipelines over the family's components, one batch for many pictures."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.beginning import pipeline_of
from models.errors import ModelError, PromptError
from models.interventions.repulsion.config import RepulsionConfig
from models.loading.sampler import sampler_of
from models.samplers import steps_of
from models.spec import Group, ModelSpec
from tests.models.test_pictures import file
from tests.support.family import BOTH, SEEDS, TOLERANCE, Toy, apart, only, picture, stock

HEUN = "FlowMatchHeunDiscreteScheduler"
FROM_PICTURE, FROM_MASK = only("sd3", "flux", "qwen-image", "chroma"), only("sd3-masked", "flux", "qwen-image")
TWO = only("sd3", "flux")


def left_half() -> bytes:
    """White on the left: as large as `picture()`."""
    mask = Image.new("L", (32, 24), 0)
    mask.paste(255, (0, 0, 16, 24))
    return file(mask)


def edit(toy: Toy, prompt: str = "a red star", *, strength: float = 0.6, steps: int = 5, **changes: Any) -> Group:
    sampling = replace(toy.sampling, steps=steps, denoising_strength=strength)
    return toy.group(prompt, **{"sampling": sampling, "pictures": (picture(),), **changes})


def same(made: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    assert made.std() > 5
    np.testing.assert_allclose(made.astype(int), expected.astype(int), rtol=0, atol=1)
    assert (made != expected).mean() < 0.01


@FROM_PICTURE
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_image_to_image_is_the_stock_pipeline(toy: Toy, strength: float) -> None:
    group = edit(toy, strength=strength)
    same(toy.generator.generate([group])[0], stock(toy, group))


@FROM_MASK
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_inpainting_is_the_stock_pipeline(toy: Toy, strength: float) -> None:
    group = edit(toy, strength=strength, mask=left_half())
    same(toy.generator.generate([group])[0], stock(toy, group))


@FROM_MASK
def test_what_is_black_in_the_mask_stays(toy: Toy) -> None:
    """In the latents; the autoencoder mixes neighbours."""
    one, other = (toy.latents(edit(toy, prompt, mask=left_half())) for prompt in ("a red star", "a blue ring"))
    middle = one.shape[-1] // 2
    assert torch.equal(one[..., middle:], other[..., middle:])
    assert apart(one[..., :middle], other[..., :middle]) > TOLERANCE


@FROM_PICTURE
def test_groups_with_pictures_of_their_own_share_a_batch(toy: Toy) -> None:
    """And each depends on itself alone, its seeds' order too."""
    groups = [edit(toy, **BOTH), edit(toy, "a blue ring", seeds=(21, 22, 23), pictures=(picture(dark=True),), **BOTH)]
    steps: list[tuple[int, int]] = []
    toy.generator.generate(groups, lambda done, of: steps.append((done, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    together = toy.images(*groups)
    for group, made in zip(groups, together, strict=True):
        assert apart(made, toy.images(group)[0]) < TOLERANCE
    mirrored = toy.images(replace(groups[0], seeds=SEEDS[::-1]))[0]
    assert apart(mirrored.flip(0), together[0]) < TOLERANCE
    dark = replace(groups[0], pictures=groups[1].pictures)
    assert apart(toy.images(dark)[0], together[0]) > 20 * TOLERANCE


@TWO
def test_less_strength_leaves_more_of_the_picture_and_the_whole_nothing(toy: Toy) -> None:
    def apart_at(strength: float) -> float:
        one, other = (edit(toy, strength=strength, pictures=(picture(dark=dark),)) for dark in (False, True))
        return apart(toy.latents(one), toy.latents(other))

    assert apart_at(0.2) > 1.2 * apart_at(0.8) > 0
    assert apart_at(1.0) == 0


@TWO
def test_text_to_image_of_the_same_model_keeps_every_bit(toy: Toy) -> None:
    before = toy.outputs(toy.group(**BOTH))
    toy.generator.generate([edit(toy, **BOTH)])
    assert torch.equal(toy.outputs(toy.group(**BOTH)), before)
    weaker = toy.group(sampling=replace(toy.sampling, denoising_strength=0.1), **BOTH)
    assert torch.equal(toy.outputs(weaker), before)


@TWO
def test_interventions_act_in_their_share_of_the_steps_that_are_made(toy: Toy) -> None:
    """Of 10 steps 4 are made, of which repulsion acts in the first half."""
    repulsion = RepulsionConfig(strength=10.0, inner_steps=2, steps=(0.0, 0.5))
    group = edit(toy, steps=10, strength=0.4, interventions=(repulsion,))
    (drawn,) = toy.generator.draw([group])
    acted = (drawn.edits["repulsion"][..., 0] > 0).any(axis=(0, 2, 3))
    assert acted.tolist() == [True, True, False, False]
    base = toy.outputs(edit(toy, interventions=()))
    for config in BOTH["interventions"]:
        assert apart(toy.outputs(edit(toy, interventions=(config,))), base) > 5 * TOLERANCE


@pytest.mark.parametrize("name", ["", HEUN])
@only("sd3")
def test_the_steps_are_those_that_diffusers_makes(toy: Toy, name: str) -> None:
    pipe = diffusers.StableDiffusion3Img2ImgPipeline(**toy.pipe.components)
    pipe.scheduler = sampler_of(toy.pipe.scheduler, toy.family, ModelSpec(path="owner/model", scheduler=name))
    for asked, strength in product((1, 4, 20, 28, 30), (0.01, 0.2, 0.55, 0.6, 0.7, 0.95, 1.0)):
        pipe.scheduler.set_timesteps(asked)
        made, _ = pipe.get_timesteps(asked, strength, "cpu")
        assert len(made) == steps_of(pipe.scheduler, asked, strength) >= 1


@only("sd3")
def test_a_sampler_of_second_order_begins_from_pictures_too(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    heun = sampler_of(toy.pipe.scheduler, toy.family, ModelSpec(path="owner/model", scheduler=HEUN))
    monkeypatch.setattr(toy.pipe, "scheduler", heun)
    group, steps = edit(toy, strength=0.6), list[tuple[int, int]]()
    made = toy.generator.generate([group], lambda done, of: steps.append((done, of)))[0]
    assert steps == [(done, 5) for done in range(1, 6)]
    same(made, stock(toy, group))


@TWO
def test_what_cannot_begin_from_a_picture_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PromptError, match="takes at most 1 input picture; the prompt has 2"):
        toy.generator.generate([edit(toy, pictures=(picture(),) * 2)])
    problem = "has 32 x 24 pixels and its picture 8 x 8" if toy.generator.info.masks else "sd3 takes no mask here"
    with pytest.raises(PromptError, match=problem):
        toy.generator.generate([edit(toy, mask=left_half(), pictures=(file(Image.new("RGB", (8, 8))),))])
    with pytest.raises(ModelError, match="cannot share a denoising batch"):
        toy.generator.generate([edit(toy), edit(toy, pictures=())])
    spec = ModelSpec(path="owner/model", scheduler="UniPCMultistepScheduler")
    monkeypatch.setattr(toy.pipe, "scheduler", sampler_of(toy.pipe.scheduler, toy.family, spec))
    with pytest.raises(ModelError, match=r"UniPC.*' cannot begin from a picture; these can: FlowMatchEuler"):
        toy.generator.generate([edit(toy)])


@FROM_MASK
def test_a_model_says_what_it_takes(toy: Toy) -> None:
    assert (toy.generator.info.pictures, toy.generator.info.masks) == ((0, 1), True)


@TWO
def test_no_weights_are_copied_or_brought_to_another_format(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.family.from_picture is not None
    monkeypatch.setattr(toy.pipe, "_all_hooks", ["of the offload"], raising=False)
    toy.pipe.transformer.to(torch.bfloat16)
    try:
        made = pipeline_of(toy.pipe, toy.family.from_picture)
        assert made.components.items() == toy.pipe.components.items()
        assert {parameter.dtype for parameter in made.transformer.parameters()} == {torch.bfloat16}
        assert made._all_hooks is toy.pipe._all_hooks
    finally:
        toy.pipe.transformer.to(torch.float32)
