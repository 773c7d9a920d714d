"""Toy pipelines of the AuraFlow family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def aura_flow(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    )
    return library.AuraFlowPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(),
        text_encoder=parts.t5(words, encoders.UMT5EncoderModel),
        tokenizer=words,
    )
