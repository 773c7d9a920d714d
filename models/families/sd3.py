"""Stable Diffusion 3 and 3.5 (Large, Medium, Turbo): one call with [negative; positive], no text mask."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from torch import Tensor

from models.families.base import BlockList, Encoded, Family
from models.spec import Sampling


def encode(pipe: Any, prompt: str, sampling: Sampling) -> Encoded:
    """Text of one prompt: CLIP tokens, then `max_sequence_length` T5 tokens (zeros where there is no T5)."""
    embeds, _, pooled, _ = pipe.encode_prompt(
        prompt=prompt,
        prompt_2=None,
        prompt_3=None,
        do_classifier_free_guidance=False,
        max_sequence_length=sampling.max_sequence_length,
    )
    valid = torch.zeros(embeds.shape[1], dtype=torch.bool)
    clip_length = pipe.tokenizer_max_length
    for tokenizer in (pipe.tokenizer, pipe.tokenizer_2):
        valid[: min(clip_length, len(tokenizer(prompt).input_ids))] = True
    if pipe.tokenizer_3 is not None:
        valid[clip_length : clip_length + len(pipe.tokenizer_3(prompt).input_ids)] = True
    return Encoded(arguments={"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}, valid_N=valid.to(embeds.device))


def arguments(positive: dict[str, Tensor], negative: dict[str, Tensor] | None, sampling: Sampling) -> dict[str, Any]:
    """Arguments of StableDiffusion3Pipeline for already expanded text."""
    named = dict(positive) if negative is None else positive | {f"negative_{k}": v for k, v in negative.items()}
    return named | {
        "guidance_scale": sampling.guidance_scale,
        "num_inference_steps": sampling.steps,
        "height": sampling.height,
        "width": sampling.width,
        "max_sequence_length": sampling.max_sequence_length,
    }


def truncation(pipe: Any, prompt: str, sampling: Sampling) -> int:
    """Tokens cut off where every encoder cuts: T5 reads past CLIP's limit, so with T5 only its own limit counts."""
    if pipe.tokenizer_3 is not None:
        excess = len(pipe.tokenizer_3(prompt).input_ids) - sampling.max_sequence_length
    else:
        tokenizers = (pipe.tokenizer, pipe.tokenizer_2)
        excess = min(len(tokenizer(prompt).input_ids) for tokenizer in tokenizers) - pipe.tokenizer_max_length
    return max(0, int(excess))


FAMILY = Family(
    name="sd3",
    pipelines=("StableDiffusion3Pipeline",),
    transformer="SD3Transformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_argument="encoder_hidden_states", text_position=1, text_output=0),
    ),
    guidance="one_call",
    encode=encode,
    arguments=arguments,
    truncation=truncation,
    # Divided as the embedders give them, so that the text is divided before the first block already.
    context_plan={
        "pos_embed": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "context_embedder": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    },
)
