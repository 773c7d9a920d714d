"""AuraFlow: one call with [negative; positive], no text mask.

The transformer puts register tokens of its own before the text. Padding behind the prompt's T5 tokens is set to zero,
and read: the pipeline asks for a mask and does nothing with it. The single-stream blocks take one tensor with the text
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from models import decoding
from models.encoded import Encoded
from models.families.base import BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import cut_at_length


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: the registers, then `max_sequence_length` T5 tokens."""
    length = sampling.max_sequence_length
    embeds, *_ = pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=length)
    padded = pipe.tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    own = padded.attention_mask[0].to(embeds.device, torch.bool)
    registers = own.new_ones(pipe.transformer.register_tokens.shape[1])
    all_N = own.new_ones(len(registers) + len(own))
    return Encoded(
        arguments={"prompt_embeds": embeds, "prompt_attention_mask": torch.ones_like(embeds[:, :, 0])},
        own_N=torch.cat([~registers, own]),
        valid_N=torch.cat([registers, own]),
        attended_N=all_N,
    )


FAMILY = Family(
    name="aura-flow",
    pipelines=("AuraFlowPipeline",),
    transformer="AuraFlowTransformer2DModel",
    block_lists=(
        BlockList(name="joint_transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_argument="hidden_states", text_position=0, text_output=None),
    ),
    layout="one_call",
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut_at_length,
    size_multiple=twice_the_autoencoder,
    options=text_length,
    decode=decoding.plain,
)
