"""Krea 2: two calls per step, or none where it is step-distilled; a text mask.

Its blocks are a single stream, which takes one tensor with the text first, so that they are joint blocks. The prompt
stands in a template of which the pipeline cuts the beginning off, and puts the end behind the padding. The pipeline
counts the guidance scale from 0; here, as everywhere, 1 is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from PIL import Image

from models.encoded import Encoded, at_places
from models.families.base import BlockList, Family, text_length
from models.spec import Sampling
from models.tokenizers import Template


def _text(pipe: Any, prompt: str) -> str:
    return str(pipe.prompt_template_encode_prefix + prompt)


_TEMPLATE = Template(text=_text, head=attrgetter("prompt_template_encode_start_idx"))


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt at `max_sequence_length` tokens: several layers of Qwen3-VL for each of them."""
    embeds, mask = pipe.encode_prompt(prompt, max_sequence_length=sampling.max_sequence_length)
    valid = mask[0].to(torch.bool)
    own = _TEMPLATE.own(pipe, prompt)
    behind = own.new_zeros(int(valid.sum()) - len(own))
    return Encoded(
        arguments={"prompt_embeds": embeds, "prompt_embeds_mask": mask},
        own_N=at_places(torch.cat([own, behind]), valid),
        valid_N=valid,
        attended_N=valid,
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    kept = sampling.max_sequence_length - pipe.prompt_template_encode_num_suffix_tokens
    return {"text_encoder": _TEMPLATE.beyond(pipe, prompt, kept)}


def options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    return {**text_length(pipe, sampling), "guidance_scale": max(0.0, sampling.guidance_scale - 1.0)}


FAMILY = Family(
    name="krea2",
    pipelines=("Krea2Pipeline",),
    transformer="Krea2Transformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_argument="hidden_states", text_position=0, text_output=None),
    ),
    layout="two_calls",
    text_inputs={"encoder_hidden_states": "prompt_embeds", "encoder_attention_mask": "prompt_embeds_mask"},
    encode=encode,
    cut=cut,
    spans=_TEMPLATE.spans,
    size_multiple=lambda pipe: int(pipe.vae_scale_factor * pipe.patch_size),
    options=options,
    guidance_argument="",
)
