"""FLUX.1 (dev, schnell) and FLUX.1 Kontext, which edits a picture: distilled guidance, no text mask.

Guidance was distilled into dev (`guidance_scale` is an input of the model) and away in schnell (it has no effect
there). A negative prompt would cost a second call per step and is not taken. The single-stream blocks take and return
text and image apart, so both block lists are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read, first_tokens
from models.families.base import Beginning, BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import Cut, beyond, spans


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: `max_sequence_length` T5 tokens, and CLIP's pooled vector."""
    embeds, pooled, _ = pipe.encode_prompt(
        prompt=prompt, prompt_2=None, max_sequence_length=sampling.max_sequence_length
    )
    valid = first_tokens(len(pipe.tokenizer_2(prompt).input_ids), embeds)
    return Encoded(
        arguments={"prompt_embeds": embeds, "pooled_prompt_embeds": pooled},
        own_N=valid,
        valid_N=valid,
        attended_N=all_read(embeds),
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {
        "text_encoder": beyond(pipe.tokenizer_max_length, pipe.tokenizer(prompt).input_ids),
        "text_encoder_2": beyond(sampling.max_sequence_length, pipe.tokenizer_2(prompt).input_ids),
    }


def spans_of_t5(pipe: Any, prompt: str) -> Cut:
    return [(0, spans(pipe.tokenizer_2, prompt))]


def encode_edit(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """The same text, with the picture to edit at its own aspect ratio and the area of the output."""
    (image,) = pictures
    scale = (sampling.width * sampling.height / (image.width * image.height)) ** 0.5
    multiple = twice_the_autoencoder(pipe)
    width, height = (max(multiple, round(side * scale / multiple) * multiple) for side in image.size)
    picture = pipe.image_processor.resize(image, height, width)
    return replace(encode(pipe, prompt, (), sampling), shared={"image": picture})


def edit_options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    # Left alone, the pipeline makes every output and every input about one megapixel.
    return {**text_length(pipe, sampling), "max_area": sampling.width * sampling.height, "_auto_resize": False}


FAMILY = Family(
    name="flux",
    pipelines=("FluxPipeline",),
    transformer="FluxTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0, attention_order="text first"),
        BlockList(name="single_transformer_blocks", text_output=0, attention_order="text first"),
    ),
    layout="distilled",
    decode=decoding.packed,
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    pooled_input="pooled_projections",
    encode=encode,
    cut=cut,
    spans=spans_of_t5,
    in_part=("text_encoder",),
    size_multiple=twice_the_autoencoder,
    options=text_length,
    from_picture=Beginning(pipeline="FluxImg2ImgPipeline"),
    from_mask=Beginning(pipeline="FluxInpaintPipeline"),
)

KONTEXT = replace(
    FAMILY,
    name="flux-kontext",
    pipelines=("FluxKontextPipeline",),
    encode=encode_edit,
    options=edit_options,
    pictures=(1, 1),
    from_picture=None,
    from_mask=None,
)
