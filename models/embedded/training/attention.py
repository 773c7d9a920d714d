"""Attention by plain matrix products, for training on a CPU, with the shipped pipeline's empty T5 tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_COUNT_B111 = torch.zeros(1, 1, 1, 1)
"""log of how often each sample's last joint token counts; see `plain_attention`."""

_ABSENT = -1e4


@contextmanager
def plain_attention(empty_tokens_B: Tensor | None = None) -> Iterator[None]:
    """Run the body with `scaled_dot_product_attention` replaced by its definition.

    At 80 tokens the backward pass of PyTorch's fused CPU attention takes longer than all matrix products of the model
    together; the definition takes a tenth of that, and torch.compile fuses it.

    empty_tokens_B: for each sample how many copies its last joint token stands for (0: none). Identical tokens stay
    identical through the whole transformer, so n of them are exactly one token whose logit is raised by log n.
    """
    global LOG_COUNT_B111
    fused = F.scaled_dot_product_attention
    before = LOG_COUNT_B111
    if empty_tokens_B is not None:
        counts = empty_tokens_B.float().view(-1, 1, 1, 1)
        LOG_COUNT_B111 = torch.where(counts > 0, counts.clamp_min(1).log(), torch.full_like(counts, _ABSENT))
    F.scaled_dot_product_attention = _attend  # type: ignore[assignment] # other parameter names: it is called by place
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused
        LOG_COUNT_B111 = before


def _attend(
    query_BHND: Tensor,
    key_BHND: Tensor,
    value_BHND: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if dropout_p > 0.0 or enable_gqa:
        raise ValueError("plain attention has neither dropout nor grouped heads")
    weight = (query_BHND * (scale or query_BHND.shape[-1] ** -0.5)) @ key_BHND.transpose(-1, -2)
    if is_causal:
        future = torch.ones(weight.shape[-2:], dtype=torch.bool, device=weight.device).triu(1)
        weight = weight.masked_fill(future, float("-inf"))
    elif attn_mask is None:  # joint attention: the text encoders' is causal
        weight = weight.float() + F.pad(LOG_COUNT_B111, (weight.shape[-1] - 1, 0))
    if attn_mask is not None:
        weight = weight.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else weight + attn_mask
    return weight.softmax(dim=-1, dtype=torch.float32).to(value_BHND.dtype) @ value_BHND
