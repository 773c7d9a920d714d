"""Puts the interventions into a transformer, through diffusers' own hooks, and takes them out again.

Order inside a step: TORA at a block's input, the block's joint attention, repulsion at its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from models.families.base import BlockList, Family
from models.interventions.clock import Clock
from models.interventions.repulsion import repel
from models.interventions.tora import semantic_direction, space_and_align
from models.parallel.rows import RowHook
from models.parallel.shards import WHOLE
from models.spec import RepulsionConfig, ToraConfig, active

HOOK = "raydiance"
ROW_HOOK = "raydiance_rows"


@contextmanager
def interventions(
    transformer: nn.Module, family: Family, clock: Clock, tora: ToraConfig | None, repulsion: RepulsionConfig | None
) -> Iterator[None]:
    """Run the body with the interventions in place. With both None the transformer is not touched at all, unless its
    rows are divided over ranks."""
    if tora is None and repulsion is None and clock.shards is WHOLE:
        yield
        return
    blocks = [(blocks, block) for blocks in family.block_lists for block in getattr(transformer, blocks.name)]
    root = HookRegistry.check_if_exists_or_initialize(transformer)
    try:
        if clock.shards is not WHOLE:
            root.register_hook(RowHook(clock), ROW_HOOK)
        root.register_hook(_RootHook(clock), HOOK)
        for index, (facts, block) in enumerate(blocks):
            hook = _BlockHook(
                facts,
                clock,
                tora if tora is not None and active(tora.blocks, index, len(blocks)) else None,
                repulsion if repulsion is not None and active(repulsion.blocks, index, len(blocks)) else None,
            )
            HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, HOOK)
        yield
    finally:
        root.remove_hook(HOOK, recurse=True)
        root.remove_hook(ROW_HOOK, recurse=False)


class _RootHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Tells the clock that a transformer call begins."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        self.clock.tick(len(hidden))
        return args, kwargs


class _BlockHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """TORA on the text that enters a block, repulsion on the text that leaves it."""

    def __init__(
        self, facts: BlockList, clock: Clock, tora: ToraConfig | None, repulsion: RepulsionConfig | None
    ) -> None:
        super().__init__()
        self.facts, self.clock, self.tora, self.repulsion = facts, clock, tora, repulsion

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.tora is None or not active(self.tora.steps, self.clock.step, self.clock.steps):
            return args, kwargs
        name, position = self.facts.text_argument, self.facts.text_position
        if name in kwargs:
            return args, kwargs | {name: self._tora(kwargs[name], self.tora)}
        return (*args[:position], self._tora(args[position], self.tora), *args[position + 1 :]), kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        if self.repulsion is None or not active(self.repulsion.steps, self.clock.step, self.clock.steps):
            return output
        text = output[self.facts.text_output]
        if text is None:
            return output
        pushed = self._repel(text, self.repulsion)
        return (*output[: self.facts.text_output], pushed, *output[self.facts.text_output + 1 :])

    def _repel(self, text_RND: Tensor, config: RepulsionConfig) -> Tensor:
        """Repulsion among the samples of a group. Every branch of every group is a set of its own."""
        clock, shards = self.clock, self.clock.shards
        branches = clock.branches // shards.branches(clock.branches).size
        whole_RND = torch.cat([shards.group.gather_rows(rows, clock.images) for rows in text_RND.chunk(branches)])
        sets_GBND = whole_RND.unflatten(0, (branches * clock.groups, clock.samples))
        pushed_RND = repel(sets_GBND, config, shards.context.sum).flatten(0, 1)
        return torch.cat([shards.group.own_rows(rows) for rows in pushed_RND.chunk(branches)])

    def _tora(self, text_RND: Tensor, config: ToraConfig) -> Tensor:
        """TORA on the whole text of this process's images, of which it keeps its own branch and tokens."""
        clock, shards = self.clock, self.clock.shards
        branch = shards.branches(clock.branches)
        tokens = clock.valid_BN.shape[1]
        both_RND = branch.gather(text_RND, 0, len(text_RND) * branch.size)
        aligned_RND = self._align(shards.context.gather(both_RND, 1, tokens), config)
        return shards.context.own(branch.own(aligned_RND, 0), 1)

    def _align(self, text_RND: Tensor, config: ToraConfig) -> Tensor:
        """TORA on rows [negative; positive]. Without a negative branch there is no semantic difference: the mean text
        of the batch row stands in for it, so that alignment follows the prompt's own mean token."""
        valid = self.clock.shards.group.own_rows(self.clock.valid_BN)
        images = len(valid)
        cond = text_RND[-images:]
        uncond = text_RND[:images] if self.clock.branches == 2 else torch.zeros_like(cond)
        direction = semantic_direction(cond, uncond, valid, config)
        aligned = space_and_align(cond, direction, valid, config)
        if self.clock.branches == 1:
            return aligned
        if config.branch == "both":
            uncond = space_and_align(uncond, -direction, valid, config)
        return torch.cat([uncond, aligned])
