"""What pictures cost, in passes of the transformer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(kw_only=True)
class Count:
    """How often something was done."""

    passes: int = 0
    """Forward passes of the transformer, each row of a batch as one: with guidance a picture takes two in a step."""


@contextmanager
def counted(transformer: nn.Module) -> Iterator[Count]:
    """Counts the forward passes in the body.

    transformer: of the embedded model, an SD3. Its last block is watched: TORA's look at the negative text, where the
        model runs without guidance, ends before the first one.
    """
    count = Count()

    def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count.passes += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

    blocks: Any = transformer.transformer_blocks
    handle = blocks[-1].register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield count
    finally:
        handle.remove()
