"""Toy pipelines of the HunyuanVideo 1.5 family."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library

_SYSTEM = inspect.signature(library.HunyuanVideo15Pipeline._get_mllm_prompt_embeds).parameters["system_message"].default
"""Of which the pipeline cuts off 108 tokens; the toy tokenizer makes a few more of it."""


def hunyuan_video_15(folder: Path) -> Any:
    words = parts.tokenizer(seen=[_SYSTEM[:400]], specials=("<|system|>", "<|user|>", *parts.QWEN_MARKS.values()))
    letters = encoders.ByT5Tokenizer()
    transformer = library.HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=WIDTH,
        text_embed_2_dim=WIDTH,
        image_embed_dim=8,
        rope_axes_dim=(4, 6, 6),
        target_size=16,
        task_type="t2v",
    )
    vae = library.AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(16, 16, 16, 16),
        layers_per_block=1,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
        downsample_match_channel=False,
        upsample_match_channel=False,
        scaling_factor=1.0,
    )
    return library.HunyuanVideo15Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(shift=7.0),
        vae=vae,
        text_encoder=encoders.Qwen2_5_VLTextModel(parts.qwen25_vl_config(words).text_config),
        tokenizer=words,
        text_encoder_2=parts.t5(letters),
        tokenizer_2=letters,
        guider=library.ClassifierFreeGuidance(),
    )
