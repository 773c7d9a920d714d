"""Toy pipelines of the LongCat-Image family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import TWO_BLOCKS, WIDTH, library


def longcat_image(folder: Path) -> Any:
    """The pipeline makes latents of 16 channels, whatever the transformer has."""
    words = parts.qwen_tokenizer()
    sizes = TWO_BLOCKS | {"in_channels": 64}
    return library.LongCatImagePipeline(
        transformer=library.LongCatImageTransformer2DModel(**sizes, pooled_projection_dim=WIDTH),
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(16),
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
        text_processor=parts.qwen_processor(words),
    )
