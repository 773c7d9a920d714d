"""HunyuanVideo 1.5: two calls per step through a guider, or one where guidance was distilled away; a text mask.

The transformer sorts its tokens: those of the quoted text (ByT5) that are not padding, those of the prompt (Qwen), then
places for a picture's, which are empty here, and the padding of both. The quoted text is spelt there letter by letter,
in a template of its own; its words are in the prompt as well, whose tokens alone count as the prompt's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import extract_glyph_texts, format_text_input
from PIL import Image

from models.encoded import Encoded, at_places, first_tokens
from models.families.base import BlockList, Family, guide
from models.spec import Sampling
from models.tokenizers import Template, beyond


def _text(pipe: Any, prompt: str) -> str:
    (turns,) = format_text_input([prompt], pipe.system_message)
    return str(pipe.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


_TEMPLATE = Template(
    text=_text, head=attrgetter("prompt_template_encode_start_idx"), options={"add_special_tokens": False}
)


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt at the pipeline's fixed length of 1000 tokens, and quoted text at 256."""
    embeds, mask, glyphs, glyphs_mask = pipe.encode_prompt(prompt)
    own = _TEMPLATE.own(pipe, prompt)
    own = torch.cat([own.new_zeros(int(glyphs_mask.sum())), own])
    length = embeds.shape[1] + glyphs.shape[1] + pipe.vision_num_semantic_tokens
    valid = first_tokens(len(own), embeds.new_zeros(1, length))
    return Encoded(
        arguments={
            "prompt_embeds": embeds,
            "prompt_embeds_mask": mask,
            "prompt_embeds_2": glyphs,
            "prompt_embeds_mask_2": glyphs_mask,
        },
        own_N=at_places(own, valid),
        valid_N=valid,
        attended_N=valid,
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    quoted = extract_glyph_texts(prompt)
    letters = pipe.tokenizer_2(quoted).input_ids if quoted else []
    return {
        "text_encoder": _TEMPLATE.beyond(pipe, prompt, pipe.tokenizer_max_length),
        "text_encoder_2": beyond(pipe.tokenizer_2_max_length, letters),
    }


def options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    """The guider holds the guidance scale."""
    guide(pipe.guider, sampling)
    return {}


FAMILY = Family(
    name="hunyuan-video-15",
    pipelines=("HunyuanVideo15Pipeline",),
    transformer="HunyuanVideo15Transformer3DModel",
    block_lists=(BlockList(name="transformer_blocks", text_output=1),),
    layout="two_calls",
    text_inputs={
        "encoder_hidden_states": "prompt_embeds",
        "encoder_attention_mask": "prompt_embeds_mask",
        "encoder_hidden_states_2": "prompt_embeds_2",
        "encoder_attention_mask_2": "prompt_embeds_mask_2",
    },
    encode=encode,
    cut=cut,
    spans=_TEMPLATE.spans,
    in_part=("text_encoder_2",),
    size_multiple=lambda pipe: int(pipe.vae_scale_factor_spatial),
    options=options,
    guidance_argument="",
    frames_per_second=24,
    frame_step=4,
)
