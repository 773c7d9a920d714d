"""HunyuanVideo: distilled guidance, a text mask by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from PIL import Image

from models.encoded import Encoded, at_places, first_tokens
from models.families.base import BlockList, Family
from models.spec import Sampling
from models.tokenizers import Template, beyond

_CLIP_TOKENS = 77
_TEMPLATE = Template(
    text=lambda _, prompt: str(DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)),
    head=lambda _: int(DEFAULT_PROMPT_TEMPLATE["crop_start"]),
)


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: `max_sequence_length` Llama tokens after the template, and CLIP's pooled vector."""
    embeds, pooled, mask = pipe.encode_prompt(prompt=prompt, max_sequence_length=sampling.max_sequence_length)
    valid = first_tokens(int(mask.sum()), embeds)
    own = _TEMPLATE.own(pipe, prompt)
    return Encoded(
        arguments={"prompt_embeds": embeds, "pooled_prompt_embeds": pooled, "prompt_attention_mask": mask},
        own_N=at_places(own, valid),
        valid_N=valid,
        attended_N=valid,
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {
        "text_encoder": _TEMPLATE.beyond(pipe, prompt, sampling.max_sequence_length),
        "text_encoder_2": beyond(_CLIP_TOKENS, pipe.tokenizer_2(prompt).input_ids),
    }


FAMILY = Family(
    name="hunyuan-video",
    pipelines=("HunyuanVideoPipeline",),
    transformer="HunyuanVideoTransformer3DModel",
    block_lists=(
        BlockList(name="transformer_blocks", text_output=1),
        BlockList(name="single_transformer_blocks", text_output=1),
    ),
    layout="distilled",
    text_inputs={"encoder_hidden_states": "prompt_embeds", "encoder_attention_mask": "prompt_attention_mask"},
    pooled_input="pooled_projections",
    encode=encode,
    cut=cut,
    spans=_TEMPLATE.spans,
    in_part=("text_encoder_2",),
    size_multiple=lambda _: 16,
    frames_per_second=24,
    frame_step=4,
)
