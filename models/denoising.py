"""A denoising run: what its batch holds, which step it is at, and how the rows of a transformer call are laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.families.base import Branch, Family
from models.parallel.shards import WHOLE, Shards


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """The text tokens of one branch, for all images of the batch.

    valid_BM: bool [B, M], and index_BM: int64 [B, M], the tokens that are not padding, M being the most that an image
    has; attended_BN1: bool [B, N, 1], the tokens that the model reads; reads_all: it reads all of them.
    """

    valid_BM: Tensor
    index_BM: Tensor
    attended_BN1: Tensor
    reads_all: bool

    @property
    def length(self) -> int:
        """N."""
        return self.attended_BN1.shape[1]

    def of_own_images(self, shards: Shards) -> Tokens:
        """The same for the images of this rank."""
        return Tokens(
            valid_BM=shards.group.own_rows(self.valid_BM),
            index_BM=shards.group.own_rows(self.index_BM),
            attended_BN1=shards.group.own_rows(self.attended_BN1),
            reads_all=self.reads_all,
        )

    def with_padding(self) -> Tokens:
        """The same with all tokens that the model reads taking part. Waits for the device."""
        read_BN = self.attended_BN1[:, :, 0]
        return Tokens.of(read_BN, read_BN)

    @staticmethod
    def of(valid_BN: Tensor, attended_BN: Tensor) -> Tokens:
        """From masks over all tokens. Waits for the device, so it is done once per run."""
        most = max(1, int(valid_BN.sum(-1).max()))
        # Valid tokens first, each part in its order.
        index_BM = (~valid_BN).to(torch.int8).argsort(dim=-1, stable=True)[:, :most]
        return Tokens(
            valid_BM=valid_BN.gather(1, index_BM),
            index_BM=index_BM,
            attended_BN1=attended_BN[:, :, None],
            reads_all=bool(attended_BN.all()),
        )


@dataclass(kw_only=True, eq=False)
class Denoising:
    """A run of one batch: `groups` groups of `samples` images, rows group-major. Interventions read it; the hooks move
    `step` and `branches`."""

    steps: int
    """Denoising steps."""
    groups: int
    samples: int
    family: Family
    blocks: int
    """Joint blocks of the transformer, over all block lists of the family."""
    tokens: Mapping[Branch, Tokens]
    """Of the positive text ("cond") and, where the run uses one, of the negative text ("uncond")."""
    guided: bool
    """The transformer runs on the negative text too."""
    seeds: Sequence[int]
    """Of every image."""
    scheduler: Any = None
    """The pipeline's sampler."""
    negative: Mapping[str, Tensor] = field(default_factory=dict)
    """The negative text of all images, by pipeline argument; empty where no intervention reads it."""
    shards: Shards = WHOLE
    """The part of a call that the blocks of this process see."""
    step: int = 0
    branches: tuple[Branch, ...] = ("cond",)
    """What the rows of the current call are, in order."""
    _calls: int = 0

    @property
    def images(self) -> int:
        """Images in the batch."""
        return self.groups * self.samples

    @property
    def noise_level(self) -> float:
        """Share of noise in the latents of the current step, from 1 to near 0."""
        sigmas = self.scheduler.sigmas  # the last is that of the finished image
        return float(sigmas[len(sigmas) - 1 - self.steps + self.step])

    def require_flow_matching(self, intervention: str) -> None:
        """Check that `noise_level` can be known.

        Raises:
            ModelError: the pipeline's sampler does no flow matching.
        """
        name = type(self.scheduler).__name__
        if not (name.startswith("FlowMatch") or getattr(self.scheduler.config, "use_flow_sigmas", False)):
            raise ModelError(f"{intervention} needs a flow-matching sampler; {self.family.name} has a {name} here")

    def parts(self, rows: Tensor) -> dict[Branch, Tensor]:
        """The rows of a whole call, [rows, ...], by branch."""
        return dict(zip(self.branches, torch.chunk(rows, len(self.branches)), strict=True))

    @property
    def own_branches(self) -> tuple[Branch, ...]:
        """The branches of the current call that the blocks of this process see."""
        axis = self.shards.branches(len(self.branches))
        return (self.branches[axis.rank],) if axis.size > 1 else self.branches

    def own_length(self, branch: Branch) -> int:
        """Number of the text tokens that the blocks of this process see."""
        context = self.shards.context
        return context.sizes(self.tokens[branch].length)[context.rank]

    def whole_text(self, text_RND: Tensor, branch: Branch) -> Tensor:
        """All branches of the call and all tokens, for the images of this process, from what its block sees.

        branch: whose tokens they are, or one of them.
        """
        context, cfg = self.shards.context, self.shards.branches(len(self.branches))
        length = self.tokens[branch].length
        if text_RND.shape[1] != length:  # some models divide the text in their first block only
            text_RND = context.gather(text_RND, 1, length)
        return cfg.gather(text_RND, 0, cfg.size * len(text_RND))

    def own_text(self, whole_RND: Tensor, like_RND: Tensor) -> Tensor:
        """The part of `whole_RND` that the block sees in the form of `like_RND`."""
        own_RND = self.shards.branches(len(self.branches)).own(whole_RND, 0)
        return own_RND if own_RND.shape == like_RND.shape else self.shards.context.own(own_RND, 1)

    @property
    def has_both(self) -> bool:
        """Does a call hold both branches, so that the difference of their tokens is at hand in every block?"""
        return self.guided and self.family.layout == "one_call"

    def begin_call(self, rows: int) -> None:
        """Note the start of a transformer call on `rows` rows.

        Raises:
            ModelError: the batch is not the one that was announced.
        """
        order: tuple[tuple[Branch, ...], ...] = (("cond",),)
        if self.guided:
            order = (("uncond", "cond"),) if self.has_both else (("cond",), ("uncond",))
        if self._calls >= len(order) or rows != self.images * len(order[self._calls]):
            raise ModelError(
                f"transformer call {self._calls + 1} of step {self.step + 1} has {rows} rows for {self.images} images, "
                f"which is not {self.family.layout} guidance; the interventions cannot tell what the rows are"
            )
        self.branches = order[self._calls]
        self._calls += 1

    def end_step(self) -> None:
        """Note the end of a denoising step."""
        self.step += 1
        self._calls = 0
