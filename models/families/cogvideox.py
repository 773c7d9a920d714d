"""CogVideoX: one call with [negative; positive], no text mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from models.encoded import Encoded, all_read, first_tokens
from models.families.base import BlockList, Family
from models.spec import Sampling
from models.tokenizers import beyond


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: as many T5 tokens as the model's position embeddings were made for."""
    length = pipe.transformer.config.max_text_seq_length
    embeds, _ = pipe.encode_prompt(prompt=prompt, do_classifier_free_guidance=False, max_sequence_length=length)
    valid = first_tokens(len(pipe.tokenizer(prompt).input_ids), embeds)
    return Encoded(
        arguments={"prompt_embeds": embeds},
        own_N=valid,
        valid_N=valid,
        attended_N=all_read(embeds),
    )


def cut(pipe: Any, prompt: str, sampling: Sampling) -> dict[str, int]:
    return {"text_encoder": beyond(pipe.transformer.config.max_text_seq_length, pipe.tokenizer(prompt).input_ids)}


FAMILY = Family(
    name="cogvideox",
    pipelines=("CogVideoXPipeline",),
    transformer="CogVideoXTransformer3DModel",
    block_lists=(BlockList(name="transformer_blocks", text_output=1, attention="attn1"),),
    layout="one_call",
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut,
    size_multiple=lambda pipe: int(pipe.vae_scale_factor_spatial * pipe.transformer.config.patch_size),
    frames_per_second=8,
    frame_step=8,
)
