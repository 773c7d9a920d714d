"""The lift of an image: errors as computed by hand, in both layouts of latents, and what the embedded model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from models.embedded import WEIGHTS
from models.embedded.measures import real_pictures
from models.errors import ModelError
from models.scorers import registry
from models.scorers.base import ImageGroup, ScorerSpec
from tests.support.toys.pipelines import save


def opened(path: str, **options: Any) -> Any:
    return registry.open_scorer(ScorerSpec(kind="lift", model=path, options={"dtype": "float32", **options}), "cpu")


def pictures(count: int, side: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@torch.inference_mode()
def by_hand(scorer: Any, pixels_BHWC: Any, text: str, *, levels: int) -> Any:
    """The errors of SD3, without its pipelines."""
    pipe, device = scorer._pipe, torch.device("cpu")
    embeds, _, pooled, _ = pipe.encode_prompt(
        text,
        None,
        None,
        do_classifier_free_guidance=False,
        max_sequence_length=scorer._sampling.max_sequence_length,
    )
    pipe.scheduler.set_timesteps(1000)
    sigmas, timesteps = pipe.scheduler.sigmas.clone(), pipe.scheduler.timesteps.clone()
    errors = np.zeros(len(pixels_BHWC))
    for level in range(levels):
        place = int(1000 - 1000 * (level + 0.5) / levels)
        for at, pixels_HWC in enumerate(pixels_BHWC):
            noises = torch.Generator().manual_seed(level)
            image = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float() / 127.5 - 1.0
            latent = pipe.vae.encode(image).latent_dist.sample(noises)
            latent = (latent - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
            noise = randn_tensor(latent.shape, noises, device)
            noisy = sigmas[place] * noise + (1 - sigmas[place]) * latent
            made = pipe.transformer(noisy, embeds, pooled, timesteps[place][None]).sample
            errors[at] += float((noise - latent - made).square().mean()) / levels
    return errors


def test_the_errors_are_those_of_the_transformer_on_noisy_latents(tiny_pipeline: str) -> None:
    scorer, pixels = opened(tiny_pipeline, levels=3), pictures(2, 16)
    group = ImageGroup(pixels_BHWC=pixels, prompt="a star on night", counterfactual="a sun on night")
    (scores,) = scorer.score([group])
    texts = ("", group.prompt, "a star", "night", "a sun on night")
    nothing, prompt, star, night, other = (by_hand(scorer, pixels, text, levels=3) for text in texts)
    np.testing.assert_allclose(scores.score_B, nothing - prompt, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.margin_B, other - prompt, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.columns["min"], nothing - np.maximum(star, night), rtol=1e-3, atol=1e-4)
    assert np.abs(scores.score_B).min() > 1e-4
    assert "scale_noise" not in vars(scorer._pipe.scheduler)


def test_an_image_s_lift_is_its_own(tiny_pipeline: str) -> None:
    scorer, pixels = opened(tiny_pipeline, levels=2, parts=False), pictures(3, 16)
    (several,) = scorer.score([ImageGroup(pixels_BHWC=pixels, prompt="a star", counterfactual="a star")])
    (alone,) = scorer.score([ImageGroup(pixels_BHWC=pixels[1:2], prompt="a star", counterfactual=None)])
    assert several.columns == {}
    assert several.score_B[1] == pytest.approx(alone.score_B[0], abs=1e-5)
    assert not several.margin_B.any()
    assert alone.margin_B is None


def test_latents_that_are_packed_are_measured_too(tmp_path: Path) -> None:
    scorer = opened(save("flux", tmp_path), levels=2)
    (scores,) = scorer.score([ImageGroup(pixels_BHWC=pictures(2, 32), prompt="a star on night", counterfactual=None)])
    assert np.isfinite(scores.score_B).all()
    assert np.abs(scores.score_B).min() > 1e-6


def test_the_embedded_model_tells_what_a_picture_shows() -> None:
    scorer = opened(str(WEIGHTS / "pipeline"), levels=4, parts=False)
    rng = np.random.default_rng(0)
    prompt, other = "a green heart on snow", "a green ring on snow"
    pixels = np.concatenate([real_pictures(shown, 4, rng) for shown in (prompt, other)])
    (scores,) = scorer.score([ImageGroup(pixels_BHWC=pixels, prompt=prompt, counterfactual=other)])
    assert scores.margin_B[:4].min() > 0 > scores.margin_B[4:].max()
    assert scores.score_B[:4].mean() > scores.score_B[4:].mean()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("m", {"levels": 0}, "options.levels = 0 is out of range"),
        ("m", {"levels": 2.0}, "options.levels = 2.0: needs a value such as 8"),
        ("m", {"dtype": "half"}, "options.dtype = 'half' is out of range"),
        ("", {}, "model = '' is out of range"),
    ],
)
def test_wrong_options_are_named(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as raised:
        registry.entry_of("lift").check(ScorerSpec(kind="lift", model=model, options=options))
    assert message in str(raised.value)
