"""Ovis-Image: two calls per step, no text mask.

The prompt stands behind a description of the task in a user's turn of Qwen3. The pipeline cuts the beginning of that
template off; what is left is padded on the right with zeros, which are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read, at_places, first_tokens
from models.families.base import BlockList, Family, text_length, twice_the_autoencoder
from models.spec import Sampling
from models.tokenizers import Template


def _text(pipe: Any, prompt: str) -> str:
    (message,) = pipe._get_messages(prompt)
    return str(message)


_TEMPLATE = Template(text=_text, head=attrgetter("user_prompt_begin_id"), options={"add_special_tokens": False})


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: its template from the cut on, padded to `max_sequence_length` tokens."""
    embeds, *_ = pipe.encode_prompt(
        prompt, do_classifier_free_guidance=False, max_sequence_length=sampling.max_sequence_length
    )
    own = _TEMPLATE.own(pipe, prompt)
    valid = first_tokens(len(own), embeds)
    return Encoded(
        arguments={"prompt_embeds": embeds},
        own_N=at_places(own, valid),
        valid_N=valid,
        attended_N=all_read(embeds),
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": _TEMPLATE.beyond(pipe, prompt, sampling.max_sequence_length)}


def options(pipe: Any, sampling: Sampling) -> dict[str, Any]:
    return {**text_length(pipe, sampling), "negative_prompt": None}  # the default, "", is refused beside its embeddings


FAMILY = Family(
    name="ovis-image",
    pipelines=("OvisImagePipeline",),
    transformer="OvisImageTransformer2DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=0),
        BlockList(name="single_transformer_blocks", text_output=0),
    ),
    layout="two_calls",
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut,
    spans=_TEMPLATE.spans,
    size_multiple=twice_the_autoencoder,
    options=options,
    decode=decoding.packed,
)
