"""What the project must know of an MM-DiT family: facts as data, and the few calls that differ between pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from models.spec import Sampling


@dataclass(frozen=True, kw_only=True)
class BlockList:
    """A list of joint blocks in a transformer.

    name: attribute of the transformer; text_argument: name of the text tokens in the block's forward, and
    text_position: their place among its positional arguments; text_output: index of the text tokens in what the block
    returns (its last block may return None there).
    """

    name: str
    text_argument: str
    text_position: int
    text_output: int


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The text of one prompt as the model takes it.

    arguments: pipeline argument -> tensor [1, ...]; valid_N: bool [N], which of the text tokens at the blocks are not
    padding.
    """

    arguments: dict[str, Tensor]
    valid_N: Tensor


@dataclass(frozen=True, kw_only=True)
class Family:
    """Facts of one family.

    pipelines: classes of the diffusers pipelines it covers; transformer: class of their transformer; guidance: how
    classifier-free guidance calls the transformer ("one_call" with [negative; positive] in one batch); encode: text of
    one prompt; arguments: the pipeline's arguments for expanded positive and negative text; truncation: number of
    tokens by which a prompt is too long (0 if it fits); context_plan: how tokens are divided over ranks, as diffusers'
    context parallelism reads it, where the transformer brings no plan or one whose blocks see unequal parts of the
    text.
    """

    name: str
    pipelines: tuple[str, ...]
    transformer: str
    block_lists: tuple[BlockList, ...]
    guidance: Literal["one_call"]
    encode: Callable[[Any, str, Sampling], Encoded]
    arguments: Callable[[dict[str, Tensor], dict[str, Tensor] | None, Sampling], dict[str, Any]]
    truncation: Callable[[Any, str, Sampling], int]
    context_plan: dict[str, Any] = field(default_factory=dict)


def stack(parts: Sequence[dict[str, Tensor]], repeats: Sequence[int]) -> dict[str, Tensor]:
    """Texts of several prompts as one batch, prompt-major: part i is repeated `repeats[i]` times."""
    return {
        name: torch.cat([part[name].expand(n, *part[name].shape[1:]) for part, n in zip(parts, repeats, strict=True)])
        for name in parts[0]
    }
