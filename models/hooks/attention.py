"""How much the image tokens attend to some text tokens in one block: the weights that its attention has, computed from
the queries and keys that it is given, after norms and position embeddings.

Whatever class a block's attention is of, it ends in PyTorch's one function for it, which is looked at from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.errors import ModelError
from models.families.base import BlockList


def weights(query_RQC: Tensor, key_RSC: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """The weights of one head, float32 [R, Q, S]; each row adds up to 1.

    query_RQC, key_RSC: of the head.
    mask: as of `torch.nn.functional.scaled_dot_product_attention`, broadcast to [R, Q, S].
    scale: likewise.
    """
    logits_RQS = query_RQC.float() @ key_RSC.float().mT * (query_RQC.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits_RQS = logits_RQS.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits_RQS + mask
    return logits_RQS.softmax(-1)


class _Watch(TorchFunctionMode):
    """Looks at the attention that is computed while it is switched on."""

    def __init__(self, facts: BlockList, text_N: Tensor) -> None:
        super().__init__()
        self.facts, self.text_N = facts, text_N
        self.on = False
        self.maps: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.on and func is F.scaled_dot_product_attention:
            self.on = False  # the block's first attention is the joint one
            given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
            self.maps.append(self._map(given["query"], given["key"], given.get("attn_mask"), given.get("scale")))
        return func(*args, **kwargs)

    def _map(self, query_RHSC: Tensor, key_RHSC: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
        """float32 [R, image tokens]: on average over heads, which are taken one by one, as all weights of a large
        picture would not fit in memory."""
        length, heads = len(self.text_N), query_RHSC.shape[1]
        text, image = slice(length), slice(length, None)
        if self.facts.attention_order == "image first":
            text, image = slice(-length, None), slice(None, -length)
        total = torch.zeros(())
        for head in range(heads):
            of_head = mask if mask is None else mask.expand(len(query_RHSC), heads, *mask.shape[-2:])[:, head]
            if of_head is not None and of_head.shape[-2] > 1:
                of_head = of_head[:, image]
            found_RQS = weights(query_RHSC[:, head, image], key_RHSC[:, head], of_head, scale)
            total = total + found_RQS[:, :, text][:, :, self.text_N].sum(-1).cpu()
        return total / heads


@contextmanager
def attention_to(facts: BlockList, block: nn.Module, text_N: Tensor) -> Iterator[list[Tensor]]:
    """Run the body, and give what each call of a block has in the end: how much each image token attends to some text
    tokens, float32 [rows, image tokens], from 0 to 1.

    facts: of the block's list.
    block: of the transformer.
    text_N: bool [N], which of the text tokens.

    Raises:
        ModelError: when it is not known where the text lies in the block's attention.
    """
    if not facts.attention_order:
        raise ModelError(f"maps of attention: nobody has looked where the text lies in that of {type(block).__name__}")
    watch, attention = _Watch(facts, text_N), getattr(block, facts.attention)

    def switch(on: bool) -> Any:
        def hook(*_: Any) -> None:
            watch.on = on

        return hook

    handles = [
        attention.register_forward_pre_hook(switch(True)),
        attention.register_forward_hook(switch(False)),
    ]
    try:
        with watch:
            yield watch.maps
    finally:
        for handle in handles:
            handle.remove()
