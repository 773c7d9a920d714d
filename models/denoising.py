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

    own_BN: bool, the prompt's own tokens, on which TORA acts; index_BM: int64, where they are, M being the most that an
    image has, and an image with fewer has others behind; attended_BN1: bool, the tokens that the model reads, on all of
    which repulsion acts, as its paper does: a template's tokens, which start the same for all samples of a group, take
    up the samples' images block by block; reads_all: the model reads all tokens; padding_BN: bool, the padding that it
    reads; encoder_BN: int64, the number of the text encoder that a token comes from; empty_B: bool, the text has no
    tokens but its encoders' marks.
    """

    own_BN: Tensor
    index_BM: Tensor
    attended_BN1: Tensor
    reads_all: bool
    padding_BN: Tensor
    encoder_BN: Tensor
    empty_B: Tensor

    @property
    def length(self) -> int:
        """N."""
        return self.attended_BN1.shape[1]

    def of_own_images(self, shards: Shards) -> Tokens:
        """The same for the images of this rank."""
        own = shards.group.own_rows
        return Tokens(
            own_BN=own(self.own_BN),
            index_BM=own(self.index_BM),
            attended_BN1=own(self.attended_BN1),
            reads_all=self.reads_all,
            padding_BN=own(self.padding_BN),
            encoder_BN=own(self.encoder_BN),
            empty_B=own(self.empty_B),
        )

    def with_padding(self) -> Tokens:
        """The same with the padding that the model reads counted as the prompt's own. Waits for the device."""
        return Tokens.of(self.own_BN | self.padding_BN, self.attended_BN1[:, :, 0], encoder_BN=self.encoder_BN)

    def of_each_encoder(self) -> list[Tokens]:
        """The same once for each text encoder, with its own tokens alone. Waits for the device."""
        numbers = sorted(set(self.encoder_BN[self.own_BN].tolist()))
        return [
            Tokens.of(
                self.own_BN & (self.encoder_BN == number),
                self.attended_BN1[:, :, 0],
                padding_BN=self.padding_BN,
                encoder_BN=self.encoder_BN,
                empty_B=self.empty_B,
            )
            for number in numbers
        ]

    @staticmethod
    def of(
        own_BN: Tensor,
        attended_BN: Tensor,
        *,
        padding_BN: Tensor | None = None,
        encoder_BN: Tensor | None = None,
        empty_B: Tensor | None = None,
    ) -> Tokens:
        """From masks over all tokens. Waits for the device, so it is done once per run.

        padding_BN, empty_B: None where there is none; encoder_BN: None where all tokens come from one.
        """
        most = max(1, int(own_BN.sum(-1).max()))
        return Tokens(
            own_BN=own_BN,
            # The prompt's tokens first, each part in its order.
            index_BM=(~own_BN).to(torch.int8).argsort(dim=-1, stable=True)[:, :most],
            attended_BN1=attended_BN[:, :, None],
            reads_all=bool(attended_BN.all()),
            padding_BN=torch.zeros_like(own_BN) if padding_BN is None else padding_BN,
            encoder_BN=torch.zeros_like(own_BN, dtype=torch.int64) if encoder_BN is None else encoder_BN,
            empty_B=torch.zeros_like(own_BN[:, 0]) if empty_B is None else empty_B,
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
