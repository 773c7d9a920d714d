"""Contextual repulsion on the rows of a transformer call: every branch of every group is one set of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.denoising import Denoising
from models.families.base import Branch
from models.interventions.base import Edit, TextEdit
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.spec import span


def edits(config: RepulsionConfig, run: Denoising) -> Sequence[Edit]:
    """The edits of one denoising run: at the output of blocks, but for the last one, whose text no family reads.

    config: the settings.
    run: the denoising.
    """
    blocks, steps = span(config.blocks, run.blocks - 1), span(config.steps, run.steps)
    return [TextEdit(site="block output", change=_Push(config, run), blocks=blocks, steps=steps)]


def pushed_tokens(config: RepulsionConfig, run: Denoising) -> Mapping[Branch, Tensor | None]:
    """The tokens that are pushed, bool [B, N, 1] by branch; None for all.

    Those that the model does not attend to are left out: they depend on the other prompts of the batch.

    config: the settings.
    run: the denoising.
    """
    pushed: dict[Branch, Tensor | None] = {
        branch: None if tokens.reads_all else tokens.attended_BN1 for branch, tokens in run.tokens.items()
    }
    if config.vary_words:
        for branch, tokens in run.tokens.items():
            pushed[branch] = torch.zeros_like(tokens.attended_BN1)
        pushed["cond"] = run.holding(config.vary_words)[:, :, None]
    if config.keep_words:
        whole_BN1 = run.tokens["cond"].attended_BN1 if pushed["cond"] is None else pushed["cond"]
        pushed["cond"] = whole_BN1 & ~run.holding(config.keep_words)[:, :, None]
    return pushed


class _Push:
    """Pushes the texts of each group of a call apart."""

    def __init__(self, config: RepulsionConfig, run: Denoising) -> None:
        self.config, self.run = config, run
        self.tokens = pushed_tokens(config, run)

    def __call__(self, text_RND: Tensor) -> Tensor:
        branches = self.run.own_branches
        if self.config.branch == "both":
            return self._pushed(text_RND, branches)
        parts = dict(zip(branches, torch.chunk(text_RND, len(branches)), strict=True))
        if "cond" in parts:
            parts["cond"] = self._pushed(parts["cond"], ("cond",))
        return torch.cat(list(parts.values())) if len(parts) > 1 else parts[branches[0]]

    def _pushed(self, text_RND: Tensor, branches: tuple[Branch, ...]) -> Tensor:
        run, shards = self.run, self.run.shards
        whole_RND = shards.gather_images(text_RND, len(branches), run.images)
        sets = (len(branches) * run.groups, run.samples, *whole_RND.shape[1:])
        if all(self.tokens[branch] is None for branch in branches):
            pushed_RND = repel(whole_RND.reshape(sets), self.config, shards.context.sum).reshape(whole_RND.shape)
        else:
            tokens_RN1 = shards.context.own(torch.cat([self._tokens(branch) for branch in branches]), 1)
            tokens_GBND = torch.where(tokens_RN1, whole_RND, 0.0).reshape(sets)
            pushed_RND = repel(tokens_GBND, self.config, shards.context.sum).reshape(whole_RND.shape)
            pushed_RND = torch.where(tokens_RN1, pushed_RND, whole_RND)
        return shards.own_images(pushed_RND, len(branches))

    def _tokens(self, branch: Branch) -> Tensor:
        tokens_BN1 = self.tokens[branch]
        return self.run.tokens[branch].attended_BN1 if tokens_BN1 is None else tokens_BN1
