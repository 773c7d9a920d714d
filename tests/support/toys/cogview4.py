"""Toy pipelines of the CogView4 family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def cogview4(folder: Path) -> Any:
    words = parts.tokenizer(first="<s>", side="left")
    text_encoder = encoders.GlmModel(encoders.GlmConfig(**parts.decoder_config(words, 2)))
    transformer = library.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=WIDTH,
        time_embed_dim=8,
        condition_dim=4,
        rope_axes_dim=(16, 16),
    )
    return library.CogView4Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True),
        vae=parts.kl(),
        text_encoder=text_encoder,
        tokenizer=words,
    )
