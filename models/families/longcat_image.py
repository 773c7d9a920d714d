"""LongCat-Image: two calls per step, no text mask.

The pipeline reads the prompt in a template of which it then leaves the prompt alone, with the padding, which is read.
Quoted text is spelt letter by letter. Its rewriting of prompts by its language model is off: a row would not say what
was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.longcat_image.pipeline_longcat_image import split_quotation
from PIL import Image
from torch import Tensor

from models.encoded import Encoded, all_read
from models.families.base import BlockList, Family, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import Cut, beyond, spans


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt at the pipeline's fixed length of 512 tokens."""
    embeds, _ = pipe.encode_prompt(prompt)
    padded = pipe.tokenizer.pad(
        {"input_ids": [_ids(pipe, prompt)]},
        max_length=pipe.tokenizer_max_length,
        padding="max_length",
        return_tensors="pt",
    )
    valid = padded.attention_mask[0].to(embeds.device, torch.bool)
    return Encoded(
        arguments={"prompt_embeds": embeds},
        own_N=valid,
        valid_N=valid,
        attended_N=all_read(embeds),
    )


def _pieces(prompt: str) -> list[str]:
    return [piece for part, quoted in split_quotation(prompt) for piece in (part if quoted else [part])]


def _ids(pipe: Any, prompt: str) -> list[int]:
    return [token for piece in _pieces(prompt) for token in pipe.tokenizer(piece, add_special_tokens=False).input_ids]


def spans_of_pieces(pipe: Any, prompt: str) -> Cut:
    found, start = [], 0
    for piece in _pieces(prompt):
        found += [
            (first + start, last + start) for first, last in spans(pipe.tokenizer, piece, add_special_tokens=False)
        ]
        start += len(piece)
    return [(0, found)]


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": beyond(pipe.tokenizer_max_length, _ids(pipe, prompt))}


def options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    return {"enable_prompt_rewrite": False}


def call(pipe: Any, arguments: dict[str, Any]) -> Any:
    """With the text that is given: the pipeline takes it, but counts the prompts that must not be there then."""
    encode_prompt = pipe.encode_prompt

    def expand(prompt: Any, num_images_per_prompt: int, prompt_embeds: Tensor) -> Any:
        return encode_prompt([""] * len(prompt_embeds), num_images_per_prompt, prompt_embeds)

    pipe.encode_prompt = expand
    try:
        return pipe(**arguments)
    finally:
        del pipe.encode_prompt


FAMILY = Family(
    name="longcat-image",
    pipelines=("LongCatImagePipeline",),
    transformer="LongCatImageTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_output=0),
    ),
    layout="two_calls",
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut,
    spans=spans_of_pieces,
    size_multiple=twice_the_autoencoder,
    options=options,
    call=call,
)
