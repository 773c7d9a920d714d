"""HunyuanImage 2.1: two calls per step through a guider, or distilled guidance; a text mask.

The transformer sorts its tokens: those of the quoted text (ByT5) that are not padding, those of the prompt (Qwen), then
the padding of both. The quoted text is spelt there letter by letter, in a template of its own, to be drawn; its words
are in the prompt as well, whose tokens alone count as the prompt's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import extract_glyph_text
from PIL import Image

from models import decoding
from models.encoded import Encoded, at_places, first_tokens
from models.families.base import BlockList, Family, guide
from models.spec import Sampling
from models.tokenizers import FORMATTED, beyond


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt at the pipeline's fixed length of 1000 tokens, and quoted text at 128.

    Prompts with and without quoted text do not share a batch: the pipeline takes one guider for the whole batch.
    """
    embeds, mask, glyphs, glyphs_mask = pipe.encode_prompt(prompt=prompt, batch_size=1)
    valid = mask[0].bool()
    own = FORMATTED.own(pipe, prompt)
    if pipe.transformer.context_embedder_2 is not None:
        tokens = embeds.new_zeros(1, embeds.shape[1] + glyphs.shape[1])
        valid = first_tokens(int(mask.sum() + glyphs_mask.sum()), tokens)
        own = torch.cat([own.new_zeros(int(glyphs_mask.sum())), own])
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
        together=bool(glyphs_mask.any()),
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    quoted = extract_glyph_text(prompt)
    letters = pipe.tokenizer_2(quoted).input_ids if quoted else []
    return {
        "text_encoder": FORMATTED.beyond(pipe, prompt, pipe.tokenizer_max_length),
        "text_encoder_2": beyond(pipe.tokenizer_2_max_length, letters),
    }


def guided(pipe: Any, sampling: Sampling) -> bool:
    return pipe.guider is not None and not pipe.transformer.config.guidance_embeds and sampling.guidance_scale > 1.0


def options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    """The guidance scale is an input of the distilled model; in the other one the guiders hold it."""
    if pipe.transformer.config.guidance_embeds:
        return {"distilled_guidance_scale": sampling.guidance_scale}
    for guider in (pipe.guider, pipe.ocr_guider):
        if guider is not None:
            guide(guider, sampling)
    return {}


FAMILY = Family(
    name="hunyuan-image",
    pipelines=("HunyuanImagePipeline",),
    transformer="HunyuanImageTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=1),
        BlockList(name="single_transformer_blocks", text_output=1),
    ),
    layout="two_calls",
    decode=decoding.plain,
    text_inputs={
        "encoder_hidden_states": "prompt_embeds",
        "encoder_attention_mask": "prompt_embeds_mask",
        "encoder_hidden_states_2": "prompt_embeds_2",
        "encoder_attention_mask_2": "prompt_embeds_mask_2",
    },
    encode=encode,
    cut=cut,
    spans=FORMATTED.spans,
    in_part=("text_encoder_2",),
    size_multiple=lambda pipe: int(pipe.vae_scale_factor),
    guided=guided,
    options=options,
    guidance_argument="",
)
