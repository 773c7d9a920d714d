"""The shipped weights: stock diffusers draws, and the oracle and open_clip tell what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from models.embedded import SAMPLING, TURBO, TURBO_SAMPLING, WEIGHTS, measures
from models.embedded.attributes import NAMES
from models.embedded.oracle import Oracle
from models.embedded.pictures import pictures
from models.embedded.training import quality
from models.embedded.training.data import RenderedSet, rendered_set
from models.generator import Generator
from models.scorers.clip import ClipScorer
from models.spec import ModelSpec
from tests.conftest import ROOT
from tests.support.docs import run_blocks

COMMON = ["a red circle", "a cyan heart", "a purple moon", "a blue square below a red triangle"]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> RenderedSet:
    return rendered_set(tmp_path_factory.mktemp("world"), "balanced", count=200, seed=99, balanced=True)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(WEIGHTS / "oracle.safetensors")


def test_stock_diffusers_draws_what_common_prompts_name(oracle: Oracle) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        WEIGHTS / "pipeline", text_encoder_3=None, tokenizer_3=None, torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        COMMON,
        height=SAMPLING.height,
        width=SAMPLING.width,
        num_inference_steps=20,
        guidance_scale=SAMPLING.guidance_scale,
        num_images_per_prompt=2,
        max_sequence_length=SAMPLING.max_sequence_length,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    pixels = (images * 255).round().astype(np.uint8).reshape(len(COMMON), 2, SAMPLING.height, SAMPLING.width, 3)
    right = np.concatenate(quality.success(oracle, COMMON, pixels))
    assert right.mean() >= 0.75


def test_the_card_s_example_draws() -> None:
    (made,) = run_blocks((WEIGHTS / "README.md").read_text(encoding="utf-8"), ROOT)
    for name in ("image", "quick"):
        assert made[name].size == (SAMPLING.width, SAMPLING.height)


def test_four_steps_draw_what_common_prompts_name(oracle: Oracle) -> None:
    generator = Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype="float32", loras=(TURBO,)))
    made = pictures(generator, COMMON, TURBO_SAMPLING, images=4)
    assert (
        np.mean([measures.success(prompt, oracle.read(group)) for prompt, group in zip(COMMON, made, strict=True)])
        > 0.75
    )


def test_the_oracle_reads_renders(oracle: Oracle, held_out: RenderedSet) -> None:
    accuracy = quality.oracle_accuracy(oracle, held_out)
    assert set(accuracy) == set(NAMES)
    assert min(estimate.mean for estimate in accuracy.values()) >= 0.97


def test_the_scorer_finds_the_caption_among_sixteen(held_out: RenderedSet) -> None:
    scorer = ClipScorer(f"local-dir:{WEIGHTS / 'clip'}")
    assert quality.caption_choice(scorer, held_out).mean >= 0.8
