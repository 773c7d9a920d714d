"""Toy pipelines of the Mochi family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, library


def mochi(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=3,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
    )
    vae = library.AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return library.MochiPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(invert_sigmas=True),
        vae=vae,
        text_encoder=parts.t5(words),
        tokenizer=words,
        force_zeros_for_empty_prompt=True,
    )
