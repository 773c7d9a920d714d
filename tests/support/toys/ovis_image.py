"""Toy pipelines of the Ovis-Image family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import TWO_BLOCKS, encoders, library

_DESCRIBE = (
    "Describe the image by detailing the color, quantity, text, shape, size, texture, spatial relationships of the "
    "objects and background:"
)


def ovis_image(folder: Path) -> Any:
    words = parts.tokenizer(seen=[_DESCRIBE], specials=("<|user|>",))
    return library.OvisImagePipeline(
        transformer=library.OvisImageTransformer2DModel(**TWO_BLOCKS, out_channels=16),
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=encoders.Qwen3Model(encoders.Qwen3Config(**parts.decoder_config(words, 2))),
        tokenizer=words,
    )
