"""TORA on the rows of a transformer call: selects rows, tokens and the source of the semantic direction."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from models.denoising import Denoising
from models.families.base import Branch
from models.interventions.base import Edit, TextEdit
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.last_change import LastChange
from models.interventions.tora.prompt_direction import PromptDirection
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction, space_and_align
from models.spec import span


class DirectionOfRun(Protocol):
    """A semantic direction that is measured at the first block and used in all blocks."""

    value: Tensor
    """float32 [B, D], one row per image."""

    def edits(self) -> Sequence[Edit]:
        """The edits that measure it; they change nothing."""


def edits(config: ToraConfig, run: Denoising) -> Sequence[Edit]:
    """The edits of one denoising run: those that measure the direction, and the alignment.

    config: the settings.
    run: the denoising.
    """
    direction = _direction(config, run)
    alignment = Alignment(config, run, direction)
    at_blocks = [
        TextEdit(
            site="attention input" if config.site == "attention" else "block input",
            change=alignment.of_a_block(),
            blocks=(block,),
            steps=span(config.steps, run.steps),
        )
        for block in span(config.blocks, run.blocks)
    ]
    return [*(direction.edits() if direction is not None else ()), *at_blocks]


def _direction(config: ToraConfig, run: Denoising) -> DirectionOfRun | None:
    """None where every block measures the direction itself."""
    if not run.has_both:
        return PromptDirection(config, run)
    return FirstBlockDirection(config, run) if config.direction == "prompt" else None


class Alignment:
    """TORA on the text of all rows of a call.

    config: the settings.
    run: the denoising.
    direction: None takes it from the text itself, which then must hold both branches.
    """

    def __init__(self, config: ToraConfig, run: Denoising, direction: DirectionOfRun | None) -> None:
        self._config, self._run, self._direction = config, run, direction
        tokens = {
            branch: (each.with_padding() if config.padding else each).of_own_images(run.shards)
            for branch, each in run.tokens.items()
        }
        self._all = TokenSelection.of(tokens["cond"], config)
        self._sets = {branch: TokenSelection.sets(each, config) for branch, each in tokens.items()}
        self._changes = self._none_yet()

    def of_a_block(self) -> Alignment:
        """The same with a memory of its own: what one block keeps from step to step is no other's."""
        own = copy(self)
        own._changes = self._none_yet()
        return own

    def _none_yet(self) -> dict[Branch, list[LastChange]]:
        return {branch: [LastChange(self._config) for _ in sets] for branch, sets in self._sets.items()}

    def __call__(self, text_RND: Tensor) -> Tensor:
        """The changed text, like `text_RND`.

        text_RND: float [rows, N, D], the part of the text that the blocks of this process compute.
        """
        config, run = self._config, self._run
        whole_RND = run.whole_text(text_RND, run.branches[0])
        parts = run.parts(whole_RND)
        if self._direction is not None:
            direction = self._direction.value
        else:
            direction = semantic_direction(parts["cond"], _negative(parts, run), self._all, config)
        if "cond" in parts:
            parts["cond"] = self._aligned(parts["cond"], direction, "cond")
        if "uncond" in parts and config.branch == "both":
            parts["uncond"] = self._aligned(parts["uncond"], -direction, "uncond")
        aligned_RND = torch.cat(list(parts.values())) if len(parts) > 1 else parts[run.branches[0]]
        return run.own_text(aligned_RND, text_RND)

    def _aligned(self, tokens_BND: Tensor, direction_BD: Tensor, branch: Branch) -> Tensor:
        for selection, last in zip(self._sets[branch], self._changes[branch], strict=True):
            keep = partial(last.at, self._run.step)
            tokens_BND = space_and_align(tokens_BND, direction_BD, selection, self._config, keep)
        return tokens_BND


def _negative(parts: dict[Branch, Tensor], run: Denoising) -> Tensor:
    """e_uncond of a call that holds both branches. Where the model does not read a negative token there is no
    difference to e_cond, whatever the token holds."""
    tokens = run.tokens["uncond"]
    if tokens.reads_all:
        return parts["uncond"]
    return torch.where(tokens.of_own_images(run.shards).attended_BN1, parts["uncond"], parts["cond"])


class FirstBlockDirection:
    """The mean direction at the first block's input, where a call holds both branches.

    config: the settings.
    run: the denoising.
    """

    value: Tensor
    """float32 [B, D], one row per image."""

    def __init__(self, config: ToraConfig, run: Denoising) -> None:
        self._config, self._run = config, run
        self._selection = TokenSelection.of(run.tokens["cond"].of_own_images(run.shards), config)

    def edits(self) -> Sequence[Edit]:
        """An edit that reads the input of the first block in every step."""
        return [TextEdit(site="block input", change=self._measure, blocks=(0,), steps=range(self._run.steps))]

    def _measure(self, text_RND: Tensor) -> Tensor:
        parts = self._run.parts(self._run.whole_text(text_RND, "cond"))
        self.value = semantic_direction(parts["cond"], _negative(parts, self._run), self._selection, self._config)
        return text_RND
