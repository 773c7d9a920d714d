"""Attention by plain matrix products, for training on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def plain_attention() -> Iterator[None]:
    """Run the body with `scaled_dot_product_attention` replaced by its definition.

    At 80 tokens the backward pass of PyTorch's fused CPU attention takes longer than all matrix products of the model
    together; the definition takes a tenth of that, and torch.compile fuses it.
    """
    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _attend  # type: ignore[assignment] # other parameter names: it is called by place
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


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
    if attn_mask is not None:
        weight = weight.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else weight + attn_mask
    return weight.softmax(dim=-1, dtype=torch.float32).to(value_BHND.dtype) @ value_BHND
