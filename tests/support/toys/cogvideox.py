"""Toy pipelines of the CogVideoX family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, library


def cogvideox(folder: Path) -> Any:
    words = parts.t5_tokenizer()
    transformer = library.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=2,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=24,
    )
    vae = library.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return library.CogVideoXPipeline(
        transformer=transformer,
        scheduler=library.CogVideoXDDIMScheduler(),
        vae=vae,
        text_encoder=parts.t5(words),
        tokenizer=words,
    )
