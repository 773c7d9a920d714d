"""Toy pipelines of the Bria family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import TWO_BLOCKS, library


def bria(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    return library.BriaPipeline(
        transformer=library.BriaTransformer2DModel(**TWO_BLOCKS),
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=parts.t5(words),
        tokenizer=words,
    )
