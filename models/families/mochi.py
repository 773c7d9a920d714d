"""Mochi: one call with [negative; positive], a text mask.

Where the pipeline says so, as the published one does, an empty text has all its tokens masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from models.encoded import Encoded
from models.families.base import BlockList, Family, text_length
from models.spec import Sampling
from models.tokenizers import cut_at_length


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: `max_sequence_length` T5 tokens."""
    embeds, mask, *_ = pipe.encode_prompt(
        [prompt], do_classifier_free_guidance=False, max_sequence_length=sampling.max_sequence_length
    )
    valid = mask[0].to(torch.bool)
    return Encoded(
        arguments={"prompt_embeds": embeds, "prompt_attention_mask": mask},
        own_N=valid,
        valid_N=valid,
        attended_N=valid,
    )


FAMILY = Family(
    name="mochi",
    pipelines=("MochiPipeline",),
    transformer="MochiTransformer3DModel",
    # The last block reads the text and leaves it as it is.
    block_lists=(BlockList(name="transformer_blocks", text_output=1, attention="attn1"),),
    layout="one_call",
    text_inputs={"encoder_hidden_states": "prompt_embeds", "encoder_attention_mask": "prompt_attention_mask"},
    encode=encode,
    cut=cut_at_length,
    size_multiple=lambda pipe: int(pipe.vae_spatial_scale_factor * pipe.transformer.config.patch_size),
    options=text_length,
    frames_per_second=30,
    frame_step=6,
)
