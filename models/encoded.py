"""The text of prompts as a model takes it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The text of one prompt as the model takes it.

    arguments: pipeline argument -> tensor [1, ...], named as for the positive prompt; own_N: bool [N], which of the
    text tokens at the blocks are the prompt's own (see below); valid_N: bool [N], which of them are not padding;
    attended_N: bool [N], which of them the model reads (it may read padding); encoder_N: int64 [N], the number of the
    text encoder that a token comes from, None where all come from one; empty: `own_N` holds nothing but marks of the
    encoders; shared: pipeline arguments of the whole batch, such as the pictures to edit; together: prompts can share a
    denoising batch where this is equal; cut: what `Family.cut` gives, which `models.texts` fills in.

    A prompt's own tokens are those into which its text was cut: nothing of a template, a system message or a picture.
    The begin and end marks of CLIP and T5, which are given the bare prompt, count among them: the end marks have read
    the whole prompt. (CLIP's begin mark is the same for every prompt, but TORA's defaults were measured with it.) A
    language model's marks, which stand before the prompt and cannot have read it, do not count.
    """

    arguments: dict[str, Tensor]
    own_N: Tensor
    valid_N: Tensor
    attended_N: Tensor
    encoder_N: Tensor | None = None
    empty: bool = False
    shared: dict[str, Any] = field(default_factory=dict)
    together: Hashable = None
    cut: Mapping[str, int] = field(default_factory=dict)


def all_read(embeds: Tensor) -> Tensor:
    """`attended_N` of a model that has no text mask. embeds: [1, N, ...]."""
    return torch.ones(embeds.shape[1], dtype=torch.bool, device=embeds.device)


def first_tokens(count: int, embeds: Tensor) -> Tensor:
    """`valid_N` of text that is padded on the right. embeds: [1, N, ...]."""
    return torch.arange(embeds.shape[1], device=embeds.device) < count


def at_places(own: Tensor, valid_N: Tensor) -> Tensor:
    """`own_N` from the same of the tokens that are not padding, wherever the padding is."""
    own_N = torch.zeros_like(valid_N)
    own_N[valid_N] = own.to(valid_N.device)
    return own_N


def stack(parts: Sequence[dict[str, Tensor]], repeats: Sequence[int]) -> dict[str, Tensor]:
    """Texts of several prompts as one batch, prompt-major: part i is repeated `repeats[i]` times.

    Shorter token sequences (dimension 1) are padded with zeros on the right, which a family allows by giving prompts of
    different length the same `together`.
    """
    stacked = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if tensors[0].ndim > 1:
            longest = max(tensor.shape[1] for tensor in tensors)
            tensors = [pad_tokens(tensor, longest) for tensor in tensors]
        stacked[name] = torch.cat([t.expand(n, *t.shape[1:]) for t, n in zip(tensors, repeats, strict=True)])
    return stacked


def pad_tokens(tensor: Tensor, length: int) -> Tensor:
    """Zeros (False) after the last token, up to `length` tokens; tokens are dimension 1."""
    missing = length - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1) if missing else tensor
