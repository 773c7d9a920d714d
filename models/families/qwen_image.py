"""Qwen-Image, Qwen-Image-Edit and its Plus (2509, 2511): two calls per step, and a text mask, so prompts of any length
share a batch; but the pipeline of Plus takes one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_dimensions
from PIL import Image
from torch import Tensor

from models import decoding
from models.encoded import Encoded, at_places
from models.families.base import Beginning, BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import FORMATTED, cut_at_length, prompt_tokens

_EDIT_AREA = 1024 * 1024
"""Pixels to which the pipeline brings every picture that it edits."""
_LOOKED_AT_AREA = 384 * 384
"""Those to which the pipeline of Plus brings them for its language model."""
_NUMBERED = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"
"""What that pipeline puts before the prompt for each picture."""


def _encoded(embeds: Tensor, own: Tensor, shared: dict[str, Any]) -> Encoded:
    # For a single prompt the pipeline gives no mask: nothing is padded.
    mask = torch.ones(embeds.shape[:2], dtype=torch.int64, device=embeds.device)
    valid = mask[0].bool()
    return Encoded(
        arguments={"prompt_embeds": embeds, "prompt_embeds_mask": mask},
        own_N=at_places(own, valid),
        valid_N=valid,
        attended_N=valid,
        shared=shared,
    )


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt, without the template's beginning and without padding."""
    embeds, _ = pipe.encode_prompt(prompt=prompt, max_sequence_length=sampling.max_sequence_length)
    return _encoded(embeds, FORMATTED.own(pipe, prompt), {})


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": FORMATTED.beyond(pipe, prompt, sampling.max_sequence_length)}


def encode_edit(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt, read together with the picture to edit, which the pipeline brings to one megapixel."""
    (image,) = pictures
    width, height, _ = calculate_dimensions(_EDIT_AREA, image.width / image.height)
    picture = pipe.image_processor.resize(image, height, width)
    embeds, _ = pipe.encode_prompt(prompt=prompt, image=picture)
    own = _with_pictures(pipe, prompt, "", embeds.shape[1])
    return _encoded(embeds, own, {"image": [picture]})


def encode_edit_plus(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt, read together with the pictures, each small and under a number."""
    sizes = [calculate_dimensions(_LOOKED_AT_AREA, picture.width / picture.height)[:2] for picture in pictures]
    looked_at = [
        pipe.image_processor.resize(picture, height, width)
        for picture, (width, height) in zip(pictures, sizes, strict=True)
    ]
    embeds, _ = pipe.encode_prompt(prompt=prompt, image=looked_at)
    numbered = "".join(_NUMBERED.format(number) for number in range(1, len(pictures) + 1))
    own = _with_pictures(pipe, numbered + prompt, numbered, embeds.shape[1])
    return replace(_encoded(embeds, own, {"image": list(pictures)}), together=prompt)


def _with_pictures(pipe: Any, prompt: str, without: str, length: int) -> Tensor:
    """`prompt_tokens` of the last `length` tokens that the text encoder reads, where each picture's one token of the
    template, which come before the prompt, has become many."""
    ids, start = FORMATTED.ids(pipe, prompt), FORMATTED.head(pipe)
    own = prompt_tokens(ids, FORMATTED.ids(pipe, without))
    picture = ids.index(pipe.text_encoder.config.image_token_id)
    more = own.new_zeros(start + length - len(ids))
    return torch.cat([own[:picture], more, own[picture:]])[start:]


def call_with_one_prompt(pipe: Any, arguments: dict[str, Any]) -> Any:
    """Many images of one prompt, whose text is given once."""
    texts = {name: value[:1] for name, value in arguments.items() if "prompt_embeds" in name}
    return pipe(**arguments | texts, num_images_per_prompt=len(arguments["generator"]))


FAMILY = Family(
    name="qwen-image",
    pipelines=("QwenImagePipeline",),
    transformer="QwenImageTransformer2DModel",
    block_lists=(BlockList(name="transformer_blocks", text_output=0, attention_order="text first"),),
    layout="two_calls",
    decode=decoding.packed_of_video,
    text_inputs={
        "encoder_hidden_states": "prompt_embeds",
        "encoder_hidden_states_mask": "prompt_embeds_mask",
    },
    encode=encode,
    cut=cut,
    spans=FORMATTED.spans,
    size_multiple=twice_the_autoencoder,
    options=text_length,
    guidance_argument="true_cfg_scale",
    from_picture=Beginning(pipeline="QwenImageImg2ImgPipeline"),
    from_mask=Beginning(pipeline="QwenImageInpaintPipeline"),
)

EDIT = replace(
    FAMILY,
    name="qwen-image-edit",
    pipelines=("QwenImageEditPipeline",),
    encode=encode_edit,
    cut=cut_at_length,
    pictures=(1, 1),
    from_picture=None,
    from_mask=None,
)

EDIT_PLUS = replace(
    EDIT,
    name="qwen-image-edit-plus",
    pipelines=("QwenImageEditPlusPipeline",),
    encode=encode_edit_plus,
    call=call_with_one_prompt,
    pictures=(1, 3),  # more were not published as working
)
