"""TORA on the rows of a transformer call: which rows, which tokens, and where the semantic direction comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from models.interventions.clock import Clock, Tokens
from models.interventions.tora import semantic_direction, space_and_align
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
        self._tokens = {
            branch: (tokens.with_padding() if config.padding else tokens).of_own_images(clock.shards)
            for branch, tokens in clock.tokens.items()
        }

    def __call__(self, text_RND: Tensor) -> Tensor:
        """text_RND: float [rows of the call, N, D], rows as `Clock.branches` says, or this process's part of it; the
        result is like it."""
        config, clock = self._config, self._clock
        whole_RND = clock.whole_text(text_RND, clock.branches[0])
        parts = dict(zip(clock.branches, torch.chunk(whole_RND, len(clock.branches)), strict=True))
        taken = {branch: self._tokens[branch].take(part) for branch, part in parts.items()}
        if self._direction is not None:
            direction = self._direction.value
        else:
            tokens = self._tokens["cond"]
            direction = semantic_direction(taken["cond"], tokens.take(parts["uncond"]), tokens.valid_BM, config)
        if "cond" in parts:
            parts["cond"] = self._changed("cond", parts["cond"], taken["cond"], direction)
        if "uncond" in parts and config.branch == "both":
            parts["uncond"] = self._changed("uncond", parts["uncond"], taken["uncond"], -direction)
        aligned_RND = torch.cat(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
        return clock.own_text(aligned_RND, text_RND)

    def _changed(self, branch: Any, text_BND: Tensor, taken_BMD: Tensor, direction_BD: Tensor) -> Tensor:
        """TORA costs the cube of the number of tokens, so what takes no part is left out rather than masked."""
        tokens: Tokens = self._tokens[branch]
        return tokens.put(text_BND, space_and_align(taken_BMD, direction_BD, tokens.valid_BM, self._config))


class FirstBlockDirection:
    """The mean direction at the first block's input, where a call holds both branches."""

    value: Tensor

    def __init__(self, clock: Clock, config: ToraConfig) -> None:
        self._clock, self._config = clock, config

    def begin_call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing is needed before the first block."""

    def first_block(self, text_RND: Tensor) -> None:
        """Take the direction from the text that enters the first block."""
        clock = self._clock
        whole_RND = clock.whole_text(text_RND, "cond")
        parts = dict(zip(clock.branches, torch.chunk(whole_RND, len(clock.branches)), strict=True))
        tokens = clock.tokens["cond"].of_own_images(clock.shards)
        self.value = semantic_direction(
            tokens.take(parts["cond"]), tokens.take(parts["uncond"]), tokens.valid_BM, self._config
        )
