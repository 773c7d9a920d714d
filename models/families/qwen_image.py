"""Qwen-Image and Qwen-Image-Edit: two calls per step, and a text mask, so prompts of any length share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_dimensions
from PIL import Image
from torch import Tensor

from models import decoding
from models.families.base import (
    Beginning,
    BlockList,
    Encoded,
    Family,
    at_places,
    beyond,
    cut_at_length,
    prompt_tokens,
    text_length,
    twice_the_autoencoder,
)
from models.spec import Sampling

_EDIT_AREA = 1024 * 1024
"""Pixels to which the pipeline brings every picture that it edits."""


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
    own = prompt_tokens(_ids(pipe, prompt), _ids(pipe, ""))
    return _encoded(embeds, own[pipe.prompt_template_encode_start_idx :], {})


def _ids(pipe: Any, prompt: str) -> list[int]:
    ids: list[int] = pipe.tokenizer(pipe.prompt_template_encode.format(prompt)).input_ids
    return ids


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    limit = pipe.prompt_template_encode_start_idx + sampling.max_sequence_length
    return {"text_encoder": beyond(limit, _ids(pipe, prompt))}


def encode_edit(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt, read together with the picture to edit, which the pipeline brings to one megapixel."""
    (image,) = pictures
    width, height, _ = calculate_dimensions(_EDIT_AREA, image.width / image.height)
    picture = pipe.image_processor.resize(image, height, width)
    embeds, _ = pipe.encode_prompt(prompt=prompt, image=picture)
    own = _with_picture(_ids(pipe, prompt), _ids(pipe, ""), pipe, embeds.shape[1])
    return _encoded(embeds, own, {"image": [picture]})


def _with_picture(ids: list[int], without: list[int], pipe: Any, length: int) -> Tensor:
    """`prompt_tokens` of the last `length` tokens that the text encoder reads, where the picture's one token of the
    template has become many."""
    own, start = prompt_tokens(ids, without), pipe.prompt_template_encode_start_idx
    picture = ids.index(pipe.text_encoder.config.image_token_id)
    more = own.new_zeros(start + length - len(ids))
    return torch.cat([own[:picture], more, own[picture:]])[start:]


FAMILY = Family(
    name="qwen-image",
    pipelines=("QwenImagePipeline",),
    transformer="QwenImageTransformer2DModel",
    block_lists=(BlockList(name="transformer_blocks", text_output=0),),
    layout="two_calls",
    decode=decoding.packed_of_video,
    text_inputs={
        "encoder_hidden_states": "prompt_embeds",
        "encoder_hidden_states_mask": "prompt_embeds_mask",
    },
    encode=encode,
    cut=cut,
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
