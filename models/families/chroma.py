"""Chroma: two calls per step, and a mask of the text and one padding token.

The single-stream blocks take one tensor with the text first. The pipeline's own mask holds floating-point numbers,
which the attention adds to its logits instead of leaving tokens out, so padding drowns short prompts (diffusers issue
12116). The model was trained with padding left out; a boolean mask does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from models import decoding
from models.encoded import Encoded, first_tokens
from models.families.base import Beginning, BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import cut_at_length


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: `max_sequence_length` T5 tokens."""
    embeds, _, mask, _, _, _ = pipe.encode_prompt(
        prompt=prompt, do_classifier_free_guidance=False, max_sequence_length=sampling.max_sequence_length
    )
    read = mask.bool()
    valid = first_tokens(len(pipe.tokenizer(prompt).input_ids), embeds)
    return Encoded(
        arguments={"prompt_embeds": embeds, "prompt_attention_mask": read},
        own_N=valid,
        valid_N=valid,
        attended_N=read[0],
    )


FAMILY = Family(
    name="chroma",
    pipelines=("ChromaPipeline",),
    transformer="ChromaTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_argument="hidden_states", text_position=0, text_output=None),
    ),
    layout="two_calls",
    decode=decoding.packed,
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut_at_length,
    size_multiple=twice_the_autoencoder,
    options=text_length,
    from_picture=Beginning(pipeline="ChromaImg2ImgPipeline"),
)
