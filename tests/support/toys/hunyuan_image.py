"""Toy pipelines of the HunyuanImage family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def hunyuan_image(folder: Path, *, distilled: bool = False) -> Any:
    words = parts.qwen_tokenizer()
    transformer = library.HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        patch_size=(1, 1),
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        rope_axes_dim=(8, 8),
        guidance_embeds=distilled,
        use_meanflow=distilled,
    )
    vae = library.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=16,
        scaling_factor=1.0,
    )
    letters = encoders.ByT5Tokenizer()
    guider = None if distilled else library.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1)
    return library.HunyuanImagePipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=vae,
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
        text_encoder_2=parts.t5(letters),
        tokenizer_2=letters,
        guider=guider,
        ocr_guider=guider,
    )
