"""CogView4: two calls per step, no text mask; padding on the left up to a multiple of 16 tokens is read.

Between the padding and the prompt the tokenizer puts GLM's marks, which are the same for every prompt.
Padding further would change the image, so only prompts of equal padded length share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from models import decoding
from models.encoded import Encoded, all_read, at_places
from models.families.base import BlockList, Family
from models.spec import Sampling
from models.tokenizers import Template, cut_at_length

_BARE = Template(text=lambda _, prompt: prompt)


def encode(pipe: Any, prompt: str, pictures: Sequence[Image.Image], sampling: Sampling) -> Encoded:
    """Text of one prompt: its GLM tokens."""
    embeds, _ = pipe.encode_prompt(
        prompt=prompt, do_classifier_free_guidance=False, max_sequence_length=sampling.max_sequence_length
    )
    attended = all_read(embeds)
    own = _BARE.own(pipe, prompt)
    valid = attended.clone()
    valid[: embeds.shape[1] - len(own)] = False
    return Encoded(
        arguments={"prompt_embeds": embeds},
        own_N=at_places(own, valid),
        valid_N=valid,
        attended_N=attended,
        together=embeds.shape[1],
    )


FAMILY = Family(
    name="cogview4",
    pipelines=("CogView4Pipeline",),
    transformer="CogView4Transformer2DModel",
    block_lists=(BlockList(name="transformer_blocks", text_output=1, attention="attn1"),),
    layout="two_calls",
    decode=decoding.plain,
    sampler_inputs=("timesteps", "sigmas"),
    text_inputs={"encoder_hidden_states": "prompt_embeds"},
    encode=encode,
    cut=cut_at_length,
    spans=_BARE.spans,
    size_multiple=lambda _: 16,
)
