"""Toy pipelines of the FLUX.1 family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import TWO_BLOCKS, WIDTH, library


def _flux(pipeline: Any, folder: Path, *, guidance: bool = True) -> Any:
    words, text_encoder = parts.clip_parts(folder)
    t5_words = parts.t5_tokenizer()
    transformer = library.FluxTransformer2DModel(**TWO_BLOCKS, pooled_projection_dim=WIDTH, guidance_embeds=guidance)
    return pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=text_encoder,
        tokenizer=words,
        text_encoder_2=parts.t5(t5_words),
        tokenizer_2=t5_words,
    )


def flux(folder: Path) -> Any:
    return _flux(library.FluxPipeline, folder)


def flux_schnell(folder: Path) -> Any:
    """Its guidance was distilled away."""
    return _flux(library.FluxPipeline, folder, guidance=False)


def flux_kontext(folder: Path) -> Any:
    return _flux(library.FluxKontextPipeline, folder)
