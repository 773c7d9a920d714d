"""Toy pipelines of the Qwen-Image family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.toys import parts
from tests.support.toys.parts import WIDTH, library


def _transformer() -> Any:
    return library.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )


def qwen_image(folder: Path) -> Any:
    words = parts.qwen_tokenizer()
    return library.QwenImagePipeline(
        transformer=_transformer(),
        scheduler=parts.flow_scheduler(),
        vae=parts.qwen_vae(),
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
    )


def qwen_image_edit(folder: Path) -> Any:
    """Its autoencoder shrinks by 64, because the pipeline brings the picture to edit to one megapixel."""
    return _edit(library.QwenImageEditPipeline, 6)


def qwen_image_edit_plus(folder: Path) -> Any:
    return _edit(library.QwenImageEditPlusPipeline, 4)


def _edit(pipeline: Any, downsamplings: int) -> Any:
    words = parts.qwen_tokenizer("Describe the key features of the input image (color, shape, size, texture")
    return pipeline(
        transformer=_transformer(),
        scheduler=parts.flow_scheduler(),
        vae=parts.qwen_vae(downsamplings),
        text_encoder=parts.qwen25_vl(words),
        tokenizer=words,
        processor=parts.qwen_processor(words),
    )
