"""Stable Diffusion 3 and 3.5 (Large, Medium, Turbo): one call with [negative; positive], no text mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read
from models.families.base import Beginning, BlockList, Family, text_length
from models.spec import Sampling
from models.tokenizers import Cut, beyond, spans


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: CLIP tokens, then `max_sequence_length` T5 tokens (zeros where there is no T5)."""
    embeds, _, pooled, _ = pipe.encode_prompt(
        prompt=prompt,
        prompt_2=None,
        prompt_3=None,
        do_classifier_free_guidance=False,
        max_sequence_length=sampling.max_sequence_length,
    )
    valid = torch.zeros(embeds.shape[1], dtype=torch.bool, device=embeds.device)
    clip_length = pipe.tokenizer_max_length
    for tokenizer in (pipe.tokenizer, pipe.tokenizer_2):
        valid[: min(clip_length, len(tokenizer(prompt).input_ids))] = True
    if pipe.tokenizer_3 is not None:
        valid[clip_length : clip_length + len(pipe.tokenizer_3(prompt).input_ids)] = True
    tokenizers = [t for t in (pipe.tokenizer, pipe.tokenizer_2, pipe.tokenizer_3) if t is not None]
    return Encoded(
        arguments={"prompt_embeds": embeds, "pooled_prompt_embeds": pooled},
        own_N=valid,
        valid_N=valid,
        attended_N=all_read(embeds),
        encoder_N=(torch.arange(embeds.shape[1], device=embeds.device) >= clip_length).long(),
        # CLIP's two marks and T5's one would be enough for TORA to act on.
        empty=all(len(tokenizer(prompt).input_ids) <= len(tokenizer("").input_ids) for tokenizer in tokenizers),
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    clip, t5 = pipe.tokenizer_max_length, sampling.max_sequence_length
    encoders = {
        "text_encoder": (clip, pipe.tokenizer),
        "text_encoder_2": (clip, pipe.tokenizer_2),
        "text_encoder_3": (t5, pipe.tokenizer_3),
    }
    return {
        name: beyond(limit, words(prompt).input_ids) for name, (limit, words) in encoders.items() if words is not None
    }


def spans_of_each(pipe: Any, prompt: str) -> Cut:
    tokenizers = ((0, pipe.tokenizer), (0, pipe.tokenizer_2), (1, pipe.tokenizer_3))
    return [(encoder, spans(tokenizer, prompt)) for encoder, tokenizer in tokenizers if tokenizer is not None]


def paints_in_masks(pipe: Any) -> bool:
    return bool(pipe.transformer.config.in_channels == 16)


FAMILY = Family(
    name="sd3",
    pipelines=("StableDiffusion3Pipeline",),
    transformer="SD3Transformer2DModel",
    # The last block has no text output. The second attention of Medium's dual-attention blocks is the image's own.
    block_lists=(BlockList(name="transformer_blocks", text_output=0, attention_order="image first"),),
    layout="one_call",
    decode=decoding.plain,
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    pooled_input="pooled_projections",
    encode=encode,
    cut=cut,
    spans=spans_of_each,
    in_part=("text_encoder", "text_encoder_2"),
    size_multiple=lambda pipe: int(pipe.vae_scale_factor * pipe.patch_size),
    options=text_length,
    from_picture=Beginning(pipeline="StableDiffusion3Img2ImgPipeline"),
    # It leaves the autoencoder's shift out.
    from_mask=Beginning(pipeline="StableDiffusion3InpaintPipeline", possible=paints_in_masks, decodes=False),
    optional={"text_encoder_3": ("tokenizer_3",)},
    sampler_inputs=(),
    context_plan={
        "pos_embed": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "context_embedder": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    },
)
