"""FLUX.2 dev (distilled guidance) and klein (two calls per step, or none where it is step-distilled): no text mask.

Its pictures are looked at as tokens behind those of the image; the text is encoded without them. The single-stream
blocks take one tensor with the text first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import format_input
from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read, at_places
from models.errors import PromptError
from models.families.base import BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import Template, beyond, prompt_tokens


def _conversation(pipe: Any, prompt: str) -> Any:
    return format_input(prompts=[prompt], system_message=pipe.system_message)


def dev_tokens(pipe: Any, prompt: str, **options: Any) -> Any:
    """What the tokenizer gives, as a batch of one, for the conversation that the pipeline makes of a prompt."""
    conversation = _conversation(pipe, prompt)
    return pipe.tokenizer.apply_chat_template(
        conversation, add_generation_prompt=False, tokenize=True, return_dict=True, **options
    )


def _conversation_text(pipe: Any, prompt: str) -> str:
    (turns,) = _conversation(pipe, prompt)
    return str(pipe.tokenizer.apply_chat_template(turns, add_generation_prompt=False, tokenize=False))


def _turn(pipe: Any, prompt: str) -> str:
    return str(
        pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    )


def klein_tokens(pipe: Any, prompt: str, **options: Any) -> Any:
    return pipe.tokenizer([_turn(pipe, prompt)], **options)


def _encode(
    pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling, tokens: Callable[..., Any]
) -> Encoded:
    length = sampling.max_sequence_length
    for picture in pictures:
        try:
            pipe.image_processor.check_image_input(picture)
        except ValueError as error:
            raise PromptError(f"an input picture is not one that the model takes: {error}") from None
    embeds, _ = pipe.encode_prompt(prompt=prompt, max_sequence_length=length)
    padded = tokens(pipe, prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    valid = padded["attention_mask"][0].to(embeds.device, torch.bool)
    ids, without = (tokens(pipe, text)["input_ids"][0] for text in (prompt, ""))
    return Encoded(
        arguments={"prompt_embeds": embeds},
        own_N=at_places(prompt_tokens(ids, without), valid),
        valid_N=valid,
        attended_N=all_read(embeds),
        shared={"image": list(pictures)} if pictures else {},
    )


def encode_dev(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: a conversation with the system message, padded to `max_sequence_length` tokens."""
    return _encode(pipe, prompt, pictures, sampling, dev_tokens)


def encode_klein(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: a user's turn, padded to `max_sequence_length` tokens."""
    return _encode(pipe, prompt, pictures, sampling, klein_tokens)


def cut_dev(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": beyond(sampling.max_sequence_length, dev_tokens(pipe, prompt)["input_ids"][0])}


def cut_klein(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": beyond(sampling.max_sequence_length, klein_tokens(pipe, prompt)["input_ids"][0])}


def guided_klein(pipe: Any, sampling: Sampling) -> bool:
    return sampling.guidance_scale > 1.0 and not pipe.config.is_distilled


DEV = Family(
    name="flux2",
    pipelines=("Flux2Pipeline",),
    transformer="Flux2Transformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_argument="hidden_states", text_position=0, text_output=None),
    ),
    layout="distilled",
    decode=decoding.normalised,
    pictures=(0, 10),
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode_dev,
    cut=cut_dev,
    spans=Template(
        text=_conversation_text,
        # The published model has a processor of texts and pictures, which holds the tokenizer.
        tokenizer=lambda pipe: getattr(pipe.tokenizer, "tokenizer", pipe.tokenizer),
        options={"add_special_tokens": False},
    ).spans,
    size_multiple=twice_the_autoencoder,
    options=text_length,
)

KLEIN = replace(
    DEV,
    name="flux2-klein",
    pipelines=("Flux2KleinPipeline",),
    layout="two_calls",
    encode=encode_klein,
    cut=cut_klein,
    spans=Template(text=_turn).spans,
    guided=guided_klein,
    pictures=(0, 4),
)
