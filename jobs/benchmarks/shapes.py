"""Transformer blocks in the real dimensions of published models, with random weights, on which cost does not depend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

SD35_LARGE: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 38,
    "num_attention_heads": 38,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 2432,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
"""Stable Diffusion 3.5 Large: arguments of SD3Transformer2DModel."""

FLUX1: dict[str, Any] = {"num_layers": 1, "num_single_layers": 0, "guidance_embeds": True}
"""FLUX.1-dev: arguments of FluxTransformer2DModel, whose defaults are its dimensions, cut to one dual-stream block."""


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """One joint block, and how a run calls it."""

    name: str
    """Name of the model."""
    width: int
    """Width of the tokens."""
    blocks: int
    """Blocks of this kind in the model."""
    steps: int
    """Denoising steps of a usual run."""
    tau: int
    """Steps in which repulsion acts."""
    rows: int
    """Rows of a call, for a group of 4."""
    text_tokens: int
    """Text tokens with padding."""
    prompt_tokens: int
    """Text tokens of a prompt of about 25 words."""
    both_branches: bool
    """Whether guidance calls it on [negative; positive]."""
    call: Callable[[Tensor], object]
    """Runs the block on text, [rows, text_tokens, width]."""


def sd35_large(image_tokens: int, dtype: torch.dtype) -> BlockShape:
    """A dual-stream block of SD3.5-Large, with 77 CLIP and 256 T5 tokens.

    image_tokens: of a call.
    dtype: of weights and tokens.
    """
    classes: Any = diffusers
    width, rows = SD35_LARGE["caption_projection_dim"], 8
    block = _first_block(classes.SD3Transformer2DModel, {**SD35_LARGE, "num_layers": 2}, dtype)
    image = torch.randn(rows, image_tokens, width).to(dtype)
    time = torch.randn(rows, width).to(dtype)
    return BlockShape(
        name="SD3.5-Large", width=width, blocks=38, steps=28, tau=4, rows=rows, text_tokens=333, prompt_tokens=60,
        both_branches=True, call=lambda text: block(hidden_states=image, encoder_hidden_states=text, temb=time),
    )  # fmt: skip


def flux1(image_tokens: int, dtype: torch.dtype) -> BlockShape:
    """A dual-stream block of FLUX.1-dev, with 512 T5 tokens and no negative branch.

    image_tokens: of a call.
    dtype: of weights and tokens.
    """
    classes: Any = diffusers
    width, rows, text_tokens = 3072, 4, 512
    block = _first_block(classes.FluxTransformer2DModel, FLUX1, dtype)
    image = torch.randn(rows, image_tokens, width).to(dtype)
    time = torch.randn(rows, width).to(dtype)
    angle = torch.randn(text_tokens + image_tokens, 128)
    rotary = (angle.cos().to(dtype), angle.sin().to(dtype))
    return BlockShape(
        name="FLUX.1-dev", width=width, blocks=57, steps=20, tau=1, rows=rows, text_tokens=text_tokens,
        prompt_tokens=35, both_branches=False,
        call=lambda text: block(
            hidden_states=image, encoder_hidden_states=text, temb=time, image_rotary_emb=rotary
        ),
    )  # fmt: skip


def _first_block(model: Any, config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        transformer = model(**config)
    block: nn.Module = transformer.transformer_blocks[0].to(dtype).to_empty(device="cpu").eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.02)
    return block
