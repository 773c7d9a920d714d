"""Toy pipelines of the SD3 family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, encoders, library


def sd3(folder: Path, *, channels: int = 4) -> Any:
    """Like SD3.5 Medium: dual attention in the first block; with T5. channels: of latents; published ones have 16."""
    words, t5_words = parts.clip_tokenizer(folder), parts.t5_tokenizer()
    transformer = library.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=channels,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        out_channels=channels,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    t5 = encoders.T5EncoderModel(
        encoders.T5Config(vocab_size=len(t5_words), d_model=2 * WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    return library.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=parts.flow_scheduler(),
        vae=parts.kl(channels, shift_factor=0.3),
        text_encoder=parts.clip(words, projected=True),
        tokenizer=words,
        text_encoder_2=parts.clip(words, projected=True),
        tokenizer_2=words,
        text_encoder_3=t5,
        tokenizer_3=t5_words,
    )
