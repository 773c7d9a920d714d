"""Bria 3.2: one call with [negative; positive], no text mask.

Behind the prompt's T5 tokens come zeros, which are read. An empty text, such as no negative prompt, is zeros alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read, first_tokens
from models.families.base import BlockList, Family, text_length
from models.spec import Sampling
from models.tokenizers import cut_at_length


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: `max_sequence_length` T5 tokens."""
    embeds, *_ = pipe.encode_prompt(
        prompt, do_classifier_free_guidance=False, max_sequence_length=sampling.max_sequence_length
    )
    count = len(pipe.tokenizer(prompt).input_ids) if prompt else 0
    valid = first_tokens(count, embeds)
    return Encoded(
        arguments={"prompt_embeds": embeds if prompt else torch.zeros_like(embeds)},
        own_N=valid,
        valid_N=valid,
        attended_N=all_read(embeds),
    )


FAMILY = Family(
    name="bria",
    pipelines=("BriaPipeline",),
    transformer="BriaTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_output=0),
    ),
    layout="one_call",
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut_at_length,
    size_multiple=lambda pipe: int(pipe.vae_scale_factor),  # which counts the 2 x 2 patches
    options=text_length,
    decode=decoding.packed,
)
