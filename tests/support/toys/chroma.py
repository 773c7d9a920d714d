"""Toy pipelines of the Chroma family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import TWO_BLOCKS, library


def chroma(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.ChromaTransformer2DModel(
        **TWO_BLOCKS,
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return library.ChromaPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=parts.t5(words),
        tokenizer=words,
    )
