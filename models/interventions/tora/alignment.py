"""TORA on the rows of a transformer call: which rows, which tokens, and where the semantic direction comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from models.denoising import Clock
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction, space_and_align
from models.spec import ToraConfig


class DirectionOfRun(Protocol):
    """A semantic direction that is found at the first block and holds for all blocks. `value`: float32 [B, D]."""

    value: Tensor

    def begin_call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before the transformer's own `forward`."""

    def first_block(self, text_RND: Tensor) -> None:
        """Called with the text that enters the first block."""


class Alignment:
    """TORA on the text of all rows of a call. direction: None takes it from the text itself, which then needs to hold
    both branches."""

    def __init__(self, clock: Clock, config: ToraConfig, direction: DirectionOfRun | None) -> None:
        self._clock, self._config, self._direction = clock, config, direction
        self._selection = {
            branch: TokenSelection.of(
                (tokens.with_padding() if config.padding else tokens).of_own_images(clock.shards), config
            )
            for branch, tokens in clock.tokens.items()
        }

    def __call__(self, text_RND: Tensor) -> Tensor:
        """text_RND: float [rows of the call, N, D], rows as `Clock.branches` says, or this process's part of it; the
        result is like it."""
        config, clock = self._config, self._clock
        whole_RND = clock.whole_text(text_RND, clock.branches[0])
        parts = dict(zip(clock.branches, torch.chunk(whole_RND, len(clock.branches)), strict=True))
        if self._direction is not None:
            direction = self._direction.value
        else:
            direction = semantic_direction(parts["cond"], parts["uncond"], self._selection["cond"], config)
        if "cond" in parts:
            parts["cond"] = space_and_align(parts["cond"], direction, self._selection["cond"], config)
        if "uncond" in parts and config.branch == "both":
            parts["uncond"] = space_and_align(parts["uncond"], -direction, self._selection["uncond"], config)
        aligned_RND = torch.cat(list(parts.values())) if len(parts) > 1 else parts[clock.branches[0]]
        return clock.own_text(aligned_RND, text_RND)


class FirstBlockDirection:
    """The mean direction at the first block's input, where a call holds both branches."""

    value: Tensor

    def __init__(self, clock: Clock, config: ToraConfig) -> None:
        self._clock, self._config = clock, config
        self._selection = TokenSelection.of(clock.tokens["cond"].of_own_images(clock.shards), config)

    def begin_call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing is needed before the first block."""

    def first_block(self, text_RND: Tensor) -> None:
        """Take the direction from the text that enters the first block."""
        clock = self._clock
        whole_RND = clock.whole_text(text_RND, "cond")
        parts = dict(zip(clock.branches, torch.chunk(whole_RND, len(clock.branches)), strict=True))
        self.value = semantic_direction(parts["cond"], parts["uncond"], self._selection, self._config)
