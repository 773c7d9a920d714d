"""Contextual repulsion on the rows of a transformer call: every branch of every group is one set of samples."""

from __future__ import annotations

from collections.abc import Sequence

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


class _Push:
    """Pushes the texts of each group of a call apart."""

    def __init__(self, config: RepulsionConfig, run: Denoising) -> None:
        self.config, self.run = config, run

    def __call__(self, text_RND: Tensor) -> Tensor:
        branches = self.run.own_branches
        if self.config.branch == "both":
            return self._pushed(text_RND, branches)
        parts = dict(zip(branches, torch.chunk(text_RND, len(branches)), strict=True))
        if "cond" in parts:
            parts["cond"] = self._pushed(parts["cond"], ("cond",))
        return torch.cat(list(parts.values())) if len(parts) > 1 else parts[branches[0]]

    def _pushed(self, text_RND: Tensor, branches: tuple[Branch, ...]) -> Tensor:
        """Tokens that the model does not attend to are left out: they depend on the other prompts of the batch."""
        run, shards = self.run, self.run.shards
        tokens = [run.tokens[branch] for branch in branches]
        whole_RND = shards.gather_images(text_RND, len(tokens), run.images)
        sets = (len(tokens) * run.groups, run.samples, *whole_RND.shape[1:])
        if all(one.reads_all for one in tokens):
            pushed_RND = repel(whole_RND.reshape(sets), self.config, shards.context.sum).reshape(whole_RND.shape)
        else:
            read_RN1 = shards.context.own(torch.cat([one.attended_BN1 for one in tokens]), 1)
            read_GBND = torch.where(read_RN1, whole_RND, 0.0).reshape(sets)
            pushed_RND = repel(read_GBND, self.config, shards.context.sum).reshape(whole_RND.shape)
            pushed_RND = torch.where(read_RN1, pushed_RND, whole_RND)
        return shards.own_images(pushed_RND, len(tokens))
