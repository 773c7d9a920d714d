"""Toy pipelines of the Krea 2 family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def krea2(folder: Path) -> Any:
    words = parts.qwen_tokenizer()
    transformer = library.Krea2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        timestep_embed_dim=8,
        text_hidden_dim=WIDTH,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 4, 8),
    )
    text = {
        **parts.decoder_config(words, 3),
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
    }
    vision = {
        "depth": 1,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "deepstack_visual_indexes": [0],
    }
    return library.Krea2Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.qwen_vae(),
        text_encoder=encoders.Qwen3VLModel(encoders.Qwen3VLConfig(text_config=text, vision_config=vision)),
        tokenizer=words,
        text_encoder_select_layers=(1, 3),
    )
