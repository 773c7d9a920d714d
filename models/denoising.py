"""A denoising run: what its batch holds, which step it is at, and how the rows of a transformer call are laid out.

A step is one evaluation of the model at one noise level: the calls of the transformer that guidance needs there. They
are counted, as not every pipeline reports its steps, and some samplers make more of them than they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.families.base import Branch, Family
from models.parallel.shards import WHOLE, Shards
from models.samplers import counts_backwards, does_flow_matching
from models.tokens import Tokens


def _nobody(done: int) -> None:
    pass


def _no_words(words: str) -> Tensor:
    raise ModelError(f"the words {words!r} cannot be found: the run was begun without the texts of its prompts")


@dataclass(kw_only=True, eq=False)
class Denoising:
    """The denoising of one batch, rows group-major. Interventions read it; the hooks update `step` and `branches`."""

    steps: int
    """Number of denoising steps, as `models.samplers.steps_of` gives it."""
    groups: int
    """Number of groups in the batch."""
    samples: int
    """Number of images in each group."""
    family: Family
    """The family of the model."""
    blocks: int
    """Number of joint blocks in the transformer, over all block lists of the family."""
    tokens: Mapping[Branch, Tokens]
    """Tokens of the positive text ("cond") and, where the run uses one, of the negative text ("uncond")."""
    guided: bool
    """Whether the transformer runs on the negative text too."""
    seeds: Sequence[int]
    """The seed of every image."""
    scheduler: Any = None
    """The pipeline's sampler."""
    adapted: bool = False
    """Whether LoRAs act on the transformer."""
    negative: Mapping[str, Tensor] = field(default_factory=dict)
    """The negative text of all images, by pipeline argument; empty where no intervention reads it."""
    holding: Callable[[str], Tensor] = _no_words
    """Which of the tokens of the positive text stand for some words of the prompts, bool [B, N], from the words as of
    `models.words.listed`. Raises PromptError where a prompt does not have one."""
    shards: Shards = WHOLE
    """The part of a call that the blocks of this process compute."""
    on_step: Callable[[int], None] = _nobody
    """Called with the number of steps done, after each step."""
    step: int = 0
    """The current step, from 0."""
    branches: tuple[Branch, ...] = ("cond",)
    """The branches of the current call, in the order of its rows."""
    _calls: int = 0
    """Calls of the transformer in the current step that have ended."""

    @property
    def images(self) -> int:
        """Number of images in the batch."""
        return self.groups * self.samples

    @property
    def noise_level(self) -> float:
        """Share of noise in the latents of the current step, from 1 (pure noise) to near 0."""
        sigmas = self.scheduler.sigmas  # the last entry belongs to the finished image
        sigma = float(sigmas[len(sigmas) - 1 - self.steps + self.step])
        return 1.0 - sigma if counts_backwards(self.scheduler) else sigma

    @property
    def towards_noise(self) -> int:
        """1 where the model predicts the way from image to noise, -1 where it predicts the way back."""
        return -1 if counts_backwards(self.scheduler) else 1

    def require_flow_matching(self, intervention: str) -> None:
        """Check that the run has a `noise_level`.

        intervention: the name for the message.

        Raises:
            ModelError: when the pipeline's sampler does no flow matching.
        """
        if not does_flow_matching(self.scheduler):
            name = type(self.scheduler).__name__
            raise ModelError(f"{intervention} needs a flow-matching sampler; {self.family.name} has a {name} here")

    def parts(self, rows: Tensor) -> dict[Branch, Tensor]:
        """The rows of a whole call, by branch.

        rows: [branches of the call * images, ...].
        """
        return dict(zip(self.branches, torch.chunk(rows, len(self.branches)), strict=True))

    @property
    def own_branches(self) -> tuple[Branch, ...]:
        """The branches of the current call that the blocks of this process compute."""
        axis = self.shards.branches(len(self.branches))
        return (self.branches[axis.rank],) if axis.size > 1 else self.branches

    def own_length(self, branch: Branch) -> int:
        """Number of text tokens that the blocks of this process compute."""
        context = self.shards.context
        return context.sizes(self.tokens[branch].length)[context.rank]

    def whole_text(self, text_RND: Tensor, branch: Branch) -> Tensor:
        """All branches of the call and all tokens, for the images of this process, gathered from the ranks' parts.

        text_RND: float [R, n, D], the part that a block of this process computes.
        branch: the branch of the rows, or one of them: it gives the number of tokens.
        """
        context, cfg = self.shards.context, self.shards.branches(len(self.branches))
        length = self.tokens[branch].length
        if text_RND.shape[1] != length:  # some models divide the text in their first block only
            text_RND = context.gather(text_RND, 1, length)
        return cfg.gather(text_RND, 0, cfg.size * len(text_RND))

    def own_text(self, whole_RND: Tensor, like_RND: Tensor) -> Tensor:
        """The part of the text that a block of this process computes; the inverse of `whole_text`.

        whole_RND: float [R, N, D], as `whole_text` gives it.
        like_RND: a tensor of the part's shape, which says whether its tokens are divided.
        """
        own_RND = self.shards.branches(len(self.branches)).own(whole_RND, 0)
        return own_RND if own_RND.shape == like_RND.shape else self.shards.context.own(own_RND, 1)

    @property
    def has_both(self) -> bool:
        """Whether a call holds both branches, so that every block can take the difference of their tokens."""
        return self.guided and self.family.layout == "one_call"

    def begin_call(self, rows: int) -> None:
        """Record the start of a transformer call.

        rows: the number of its rows.

        Raises:
            ModelError: when all steps are done, or the rows are not those that the family's guidance layout leads to.
        """
        if self.step >= self.steps:
            raise ModelError(self._miscounted("makes more"))
        branches = self._calls_of_step[self._calls]
        if rows != self.images * len(branches):
            raise ModelError(
                f"transformer call {self._calls + 1} of step {self.step + 1} has {rows} rows for {self.images} images, "
                f"which is not {self.family.layout} guidance; the interventions cannot tell what the rows are"
            )
        self.branches = branches

    def end_call(self) -> None:
        """Record the end of a transformer call, which may be the end of a step."""
        self._calls += 1
        if self._calls == len(self._calls_of_step):
            self.step, self._calls = self.step + 1, 0
            self.on_step(self.step)

    def end(self) -> None:
        """Record the end of the run.

        Raises:
            ModelError: when steps are missing.
        """
        if self.step < self.steps or self._calls:
            raise ModelError(self._miscounted("has made fewer"))

    @property
    def _calls_of_step(self) -> tuple[tuple[Branch, ...], ...]:
        """The branches of each transformer call of a step."""
        if not self.guided:
            return (("cond",),)
        return (("uncond", "cond"),) if self.has_both else (("cond",), ("uncond",))

    def _miscounted(self, does: str) -> str:
        return (
            f"{type(self.scheduler).__name__} {does} transformer calls than the {len(self._calls_of_step)} in each of "
            f"{self.steps} steps that were expected (at step {self.step + 1}), so that steps cannot be told apart"
        )
