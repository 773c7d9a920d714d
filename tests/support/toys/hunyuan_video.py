"""Toy pipelines of the HunyuanVideo family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def hunyuan_video(folder: Path) -> Any:
    words, text_encoder = parts.clip_parts(folder)
    llama_words = parts.tokenizer(seen=[DEFAULT_PROMPT_TEMPLATE["template"]], first="<s>")
    llama = encoders.LlamaModel(encoders.LlamaConfig(**parts.decoder_config(llama_words, 2)))
    transformer = library.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        rope_axes_dim=(2, 4, 4),
    )
    vae = library.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=1.0,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )
    return library.HunyuanVideoPipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(shift=7.0),
        vae=vae,
        text_encoder=llama,
        tokenizer=llama_words,
        text_encoder_2=text_encoder,
        tokenizer_2=words,
    )
