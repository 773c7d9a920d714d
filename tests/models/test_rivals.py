"""The published rivals that arms may name: what they change, and their formulas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from models.errors import ModelError
from models.generator import Generator
from models.interventions import registry
from models.interventions.cads import CadsConfig, anneal
from models.interventions.dave import DAVE, DaveConfig
from models.interventions.guidance_interval import GuidanceIntervalConfig
from models.interventions.particle_guidance import ParticleGuidanceConfig, push_of_particles
from models.interventions.pink_start import PinkStartConfig, coloured
from models.spec import Group, InterventionConfig, ModelSpec, Sampling

SAMPLING = Sampling(steps=2, guidance_scale=4.0, width=16, height=16, max_sequence_length=4)
RIVALS: list[InterventionConfig] = [
    GuidanceIntervalConfig(steps=(0.0, 0.5)),
    CadsConfig(weight=0.5, steps=(0.1, 0.9)),
    DaveConfig(weight=0.5, steps=(0.0, 0.5)),
    ParticleGuidanceConfig(weight=3.0),
    PinkStartConfig(exponent=1.0),
]


@pytest.mark.parametrize("config", RIVALS)
def test_they_change_pictures_depend_on_the_group_alone_and_leave_no_trace(
    tiny_pipeline: str, config: InterventionConfig
) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))

    def make(*which: int, interventions: tuple[InterventionConfig, ...] = ()) -> list[Any]:
        asked = (("red", (1, 2)), ("a ring", (3, 4)))
        groups = [
            Group(prompt=asked[n][0], seeds=asked[n][1], sampling=SAMPLING, interventions=interventions) for n in which
        ]
        return generator.generate(groups)

    stock = make(0, 1)
    changed = make(0, 1, interventions=(config,))
    assert not any(np.array_equal(a, b) for a, b in zip(changed, stock, strict=True))
    alone = make(1, interventions=(config,))[0]
    assert np.abs(alone.astype(int) - changed[1]).max() <= 2
    assert all(np.array_equal(a, b) for a, b in zip(make(0, 1), stock, strict=True))


def test_what_cannot_act_is_refused(tiny_pipeline: str) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))

    def make(config: InterventionConfig, guidance_scale: float = 4.0) -> None:
        sampling = Sampling(steps=2, guidance_scale=guidance_scale, width=16, height=16, max_sequence_length=4)
        generator.generate([Group(prompt="red", seeds=(1,), sampling=sampling, interventions=(config,))])

    with pytest.raises(ModelError, match=r"dave.block = 2: this model has the joint blocks 0 to 1"):
        make(DaveConfig(block=2))
    with pytest.raises(ModelError, match="guidance_interval has nothing to leave out"):
        make(GuidanceIntervalConfig(), guidance_scale=1.0)


def test_particle_guidance_is_the_gradient_of_the_summed_similarity() -> None:
    latents = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    flat = latents[0].flatten(1)
    distances = torch.pdist(flat.detach())
    width = distances.median().square() / np.log(4)
    similarity = torch.exp(-torch.cdist(flat, flat).square() / width).sum() / 2
    (gradient,) = torch.autograd.grad(similarity, latents)
    found = push_of_particles(latents.detach())
    torch.testing.assert_close(found.double(), -width / 2 * gradient, rtol=1e-4, atol=1e-5)


def test_cads_keeps_mean_and_spread_and_fades() -> None:
    config = CadsConfig(weight=0.5, steps=(0.1, 0.4))
    text, noise = torch.randn(5, 7) * 3 + 1, torch.randn(5, 7)
    torch.testing.assert_close(anneal(text, noise, 0.5, config), text, rtol=1e-4, atol=1e-4)
    early = anneal(text, noise, 1.0, config)
    assert (early - text).abs().max() > 1
    torch.testing.assert_close(early.std(), text.std())
    torch.testing.assert_close(early.mean(), text.mean())


def test_pink_noise_keeps_its_mean_square_and_is_smooth() -> None:
    white = torch.randn(500, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(coloured(white, 0.0), white, rtol=1e-4, atol=1e-5)
    pink = coloured(white, 1.0)
    assert pink.square().mean() == pytest.approx(1.0, abs=0.05)

    def steps(noise: torch.Tensor) -> float:
        return float((noise[..., 1:] - noise[..., :-1]).square().mean())

    assert steps(pink) < 0.8 * steps(white)


def test_a_pink_start_is_the_stock_pipeline_from_pink_latents(tiny_pipeline: str) -> None:
    group = Group(prompt="red", seeds=(5,), sampling=SAMPLING, interventions=(PinkStartConfig(exponent=1.0),))
    found = Generator(ModelSpec(path=tiny_pipeline, dtype="float32")).generate([group])[0]
    pipe = StableDiffusion3Pipeline.from_pretrained(tiny_pipeline, text_encoder_3=None, tokenizer_3=None)
    pipe.set_progress_bar_config(disable=True)
    side = 16 // pipe.vae_scale_factor
    white = torch.randn(1, pipe.transformer.config.in_channels, side, side, generator=torch.Generator().manual_seed(5))
    made = pipe(
        "red",
        latents=coloured(white, 1.0),
        num_inference_steps=2,
        guidance_scale=4.0,
        width=16,
        height=16,
        max_sequence_length=4,
        output_type="np",
    ).images
    assert np.abs(found - made * 255.0).max() < 1.0


def test_an_entry_that_no_row_could_hold_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Listed(InterventionConfig):
        words: tuple[str, ...] = ()

    @dataclass(frozen=True, kw_only=True)
    class Bare(InterventionConfig):
        weight: float

    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"name": "other", "config": Listed}, "no column can hold words"),
        ({"name": "other", "config": Bare}, r"settings \['weight'\] need defaults"),
        ({"name": "Dave"}, "a-z"),
        ({"title": "another"}, "another one has this name"),
    )
    for changes, words in cases:
        with pytest.raises(ValueError, match=words):
            registry.register(replace(DAVE, **changes))
    assert registry.find("other") is None
