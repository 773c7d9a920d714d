"""Chroma's padding, whose attention is masked in whole rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.interventions.tora.alignment import Alignment
from tests.support.family import BOTH, TOLERANCE, Toy, apart, only

_attention = torch.nn.functional.scaled_dot_product_attention


def _skipping(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    """Attention as a fused kernel may do it: keys that are masked for all are never loaded, and a row without a key
    gives 0 / 0."""
    if attn_mask is None or attn_mask.dtype != torch.bool:
        return _attention(query, key, value, attn_mask=attn_mask, **options)
    read = attn_mask.any(-2)[..., None]
    key, value = torch.where(read, key, 0.0), torch.where(read, value, 0.0)
    attended = _attention(query, key, value, attn_mask=attn_mask, **options)
    return torch.where(attn_mask.any(-1, keepdim=True), attended, float("nan"))


@only("chroma")
def test_padding_that_is_not_a_number_reaches_nothing(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    group = toy.group(**BOTH)
    before = toy.outputs(group)
    cache = toy.generator._texts
    kept = dict(cache._kept)
    for key, encoded in kept.items():
        read = encoded.arguments["prompt_attention_mask"][:, :, None]
        assert not read.all()
        embeds = torch.where(read, encoded.arguments["prompt_embeds"], float("nan"))
        cache._kept[key] = replace(encoded, arguments=encoded.arguments | {"prompt_embeds": embeds})
    given: list[Tensor] = []
    align = Alignment.__call__

    def note(self: Alignment, text_RND: Tensor) -> Tensor:
        given.append(text_RND)
        return align(self, text_RND)

    monkeypatch.setattr(Alignment, "__call__", note)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", _skipping)
    try:
        after = toy.outputs(group)
    finally:
        cache._kept.update(kept)
    assert all(text.isnan().any() for text in given)
    assert torch.isfinite(after).all()
    assert apart(after, before) < TOLERANCE
