"""The toy pipelines that the tests of all families share."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from torch import Tensor

from models.families import FAMILIES
from models.families.base import Family
from models.generator import Generator
from models.spec import ModelSpec, Sampling
from tests.support.family import Toy, picture
from tests.support.toys import pipelines as toys


@pytest.fixture(scope="session", params=[family.name for family in FAMILIES])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = toys.save(request.param, tmp_path_factory.mktemp(request.param))
    generator = Generator(ModelSpec(path=folder, dtype="float32"))
    family = generator._family
    _spare(family, generator._pipe)
    side = max(16, family.size_multiple(generator._pipe))
    return Toy(
        family=family,
        generator=generator,
        sampling=Sampling(
            steps=2,
            guidance_scale=3.0,
            width=side,
            height=side,
            max_sequence_length=64,
            frames=1 + family.frame_step,
        ),
        pictures=(picture(), picture(dark=True))[: family.pictures[1] if family.pictures[0] else 0],
    )


def _spare(family: Family, pipe: Any) -> None:
    """Save time: less padding, and pictures that are small, or go through the autoencoder once."""
    if family.name in _PADS:
        for name in {*_LENGTHS} & {*vars(pipe)}:
            setattr(pipe, name, _LENGTHS[name])
    if family.name == "qwen-image-edit-plus":
        pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE = 64 * 64
    elif family.pictures[0]:
        encode = pipe._encode_vae_image
        known: dict[bytes, Tensor] = {}

        def encode_once(image: Tensor, generator: Any) -> Tensor:
            key = image.numpy().tobytes()
            if key not in known:
                known[key] = encode(image=image, generator=generator)
            return known[key]

        pipe._encode_vae_image = encode_once


_PADS = ("hunyuan-image", "hunyuan-video-15", "longcat-image")
"""Families whose pipelines pad texts to lengths of their own."""
_LENGTHS = {"tokenizer_max_length": 64, "tokenizer_2_max_length": 24, "vision_num_semantic_tokens": 4}
"""These lengths here."""
