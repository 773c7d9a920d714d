"""Puts the interventions into a transformer, through diffusers' own hooks, and takes them out again.

Order inside a step: TORA on the text that a block or its attention reads, the joint attention, repulsion at the block's
output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from models.denoising import Clock
from models.errors import ModelError
from models.families.base import BlockList, Branch, Family
from models.hooks.rows import RowHook
from models.interventions.repulsion.push import repel
from models.interventions.tora.alignment import Alignment, DirectionOfRun, FirstBlockDirection
from models.interventions.tora.prompt_direction import PromptDirection
from models.parallel.shards import WHOLE
from models.spec import RepulsionConfig, ToraConfig, active

HOOK = "raydiance"
ROW_HOOK = "raydiance_rows"
_SKIPPING = ("fbc_", "mag_cache", "sea_cache", "faster_cache", "pyramid_attention", "taylorseer", "layer_skip")
"""Beginnings of the names of diffusers' hooks that skip or replace blocks, or drop rows of the batch."""


@contextmanager
def interventions(
    transformer: nn.Module,
    family: Family,
    clock: Clock,
    tora: ToraConfig | None,
    repulsion: RepulsionConfig | None,
    negative: Mapping[str, Tensor] | None = None,
) -> Iterator[None]:
    """Run the body with the interventions in place. With both None the transformer is not touched at all, unless its
    rows are divided over ranks.

    negative: the negative text of all images, by pipeline argument; TORA needs it where a call does not hold both
    branches (see `prompt_direction`).

    Raises:
        ModelError: the transformer runs with a cache that skips blocks, or was compiled as a whole.
    """
    if tora is None and repulsion is None and clock.shards is WHOLE:
        yield
        return
    blocks = [(blocks, block) for blocks in family.block_lists for block in getattr(transformer, blocks.name)]
    _refuse_what_hides_blocks(transformer)
    root = HookRegistry.check_if_exists_or_initialize(transformer)
    direction = None if tora is None else _direction(clock, family, negative, tora)
    alignment = None if tora is None else Alignment(clock, tora, direction)
    last = len(blocks) - 1  # no family reads the text that leaves its last block
    hooks = [
        _BlockHook(
            facts,
            clock,
            alignment if tora is not None and active(tora.blocks, index, len(blocks)) else None,
            repulsion if repulsion is not None and index < last and active(repulsion.blocks, index, last) else None,
            direction,
        )
        for index, (facts, _) in enumerate(blocks)
    ]
    hooks[0].is_first = True
    try:
        if clock.shards is not WHOLE:
            root.register_hook(RowHook(clock), ROW_HOOK)
        root.register_hook(_RootHook(clock, tora, repulsion, hooks, direction), HOOK)
        for hook, (facts, block) in zip(hooks, blocks, strict=True):
            HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, HOOK)
            if tora is not None and tora.site == "attention":
                hook.at_input = False
                attention = getattr(block, facts.attention)
                HookRegistry.check_if_exists_or_initialize(attention).register_hook(_AttentionHook(hook), HOOK)
        yield
    finally:
        root.remove_hook(HOOK, recurse=True)
        root.remove_hook(ROW_HOOK, recurse=False)


class _RootHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Tells the clock that a transformer call begins, and the blocks what to do in it."""

    def __init__(
        self,
        clock: Clock,
        tora: ToraConfig | None,
        repulsion: RepulsionConfig | None,
        blocks: list[_BlockHook],
        direction: DirectionOfRun | None,
    ) -> None:
        super().__init__()
        self.clock, self.tora, self.repulsion, self.blocks = clock, tora, repulsion, blocks
        self.direction = direction

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        clock = self.clock
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        clock.begin_call(len(hidden))
        tora = self.tora is not None and active(self.tora.steps, clock.step, clock.steps)
        repulsion = self.repulsion is not None and active(self.repulsion.steps, clock.step, clock.steps)
        for block in self.blocks:
            block.tora_now = tora and block.alignment is not None
            block.repulsion_now = repulsion and block.repulsion is not None
        if self.direction is not None:
            self.direction.begin_call(self.fn_ref.forward, args, kwargs)
        return args, kwargs


class _BlockHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """TORA on the text that enters a block, repulsion on the text that leaves it.

    The switches are plain booleans, because a compiled block is compiled anew for every value that it reads here.
    """

    def __init__(
        self,
        facts: BlockList,
        clock: Clock,
        alignment: Alignment | None,
        repulsion: RepulsionConfig | None,
        direction: DirectionOfRun | None,
    ) -> None:
        super().__init__()
        self.facts, self.clock, self.alignment, self.repulsion = facts, clock, alignment, repulsion
        self.direction = direction
        self.is_first = self.tora_now = self.repulsion_now = False
        self.at_input = True

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name, position = self.facts.text_argument, self.facts.text_position
        text = kwargs[name] if name in kwargs else args[position]
        if self.is_first and self.direction is not None:
            self.direction.first_block(text)
        if not self.tora_now or not self.at_input:
            return args, kwargs
        assert self.alignment is not None
        text = self._changed(text, self.alignment)
        if name in kwargs:
            return args, kwargs | {name: text}
        return (*args[:position], text, *args[position + 1 :]), kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        at = self.facts.text_output
        if not self.repulsion_now or (at is not None and output[at] is None):
            return output
        if at is None:
            return self._changed(output, self._repel)
        return (*output[:at], self._repel(output[at]), *output[at + 1 :])

    def _changed(self, tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply `change` to the text part of a block's tensor."""
        return change(tensor) if self.facts.text_output is not None else self.with_text(tensor, change)

    def with_text(self, joint: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply `change` to the text that comes before the image in `joint`."""
        length = self.clock.own_length(self.clock.branches[0])
        return torch.cat([change(joint[:, :length]), joint[:, length:]], dim=1)

    def _repel(self, text_RND: Tensor) -> Tensor:
        """Every branch of every group is a set of its own."""
        assert self.repulsion is not None
        branches = self.clock.own_branches
        if self.repulsion.branch == "both":
            return self._pushed(text_RND, branches)
        parts = dict(zip(branches, torch.chunk(text_RND, len(branches)), strict=True))
        if "cond" in parts:
            parts["cond"] = self._pushed(parts["cond"], ("cond",))
        return torch.cat(list(parts.values())) if len(parts) > 1 else parts[branches[0]]

    def _pushed(self, text_RND: Tensor, branches: tuple[Branch, ...]) -> Tensor:
        """Tokens that the model does not read take no part: what they hold depends on the batch's other prompts."""
        assert self.repulsion is not None
        clock, shards = self.clock, self.clock.shards
        tokens = [clock.tokens[branch] for branch in branches]
        whole_RND = shards.gather_images(text_RND, len(tokens), clock.images)
        sets = (len(tokens) * clock.groups, clock.samples, *whole_RND.shape[1:])
        if all(one.reads_all for one in tokens):
            pushed_RND = repel(whole_RND.reshape(sets), self.repulsion, shards.context.sum).reshape(whole_RND.shape)
        else:
            read_RN1 = shards.context.own(torch.cat([one.attended_BN1 for one in tokens]), 1)
            read_GBND = torch.where(read_RN1, whole_RND, 0.0).reshape(sets)
            pushed_RND = repel(read_GBND, self.repulsion, shards.context.sum).reshape(whole_RND.shape)
            pushed_RND = torch.where(read_RN1, pushed_RND, whole_RND)
        return shards.own_images(pushed_RND, len(tokens))


class _AttentionHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """TORA on the normalised text that a block's attention reads."""

    def __init__(self, block: _BlockHook) -> None:
        super().__init__()
        self.block = block

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.block.tora_now:
            return args, kwargs
        alignment = self.block.alignment
        assert alignment is not None
        if kwargs.get("encoder_hidden_states") is not None:
            return args, kwargs | {"encoder_hidden_states": alignment(kwargs["encoder_hidden_states"])}
        return args, kwargs | {"hidden_states": self.block.with_text(kwargs["hidden_states"], alignment)}


def _direction(
    clock: Clock, family: Family, negative: Mapping[str, Tensor] | None, tora: ToraConfig
) -> DirectionOfRun | None:
    """None where every block finds the direction for itself."""
    if clock.has_both:
        return FirstBlockDirection(clock, tora) if tora.direction == "prompt" else None
    if negative is None:
        raise ModelError("TORA needs the negative text, from which the prompt differs")
    return PromptDirection(clock, family, negative, tora)


def _refuse_what_hides_blocks(transformer: nn.Module) -> None:
    if getattr(transformer, "_compiled_call_impl", None) is not None or hasattr(transformer, "_orig_mod"):
        raise ModelError("the interventions work with compiled blocks, not with a transformer compiled as a whole")
    for name, module in transformer.named_modules():
        registry = getattr(module, "_diffusers_hook", None)
        for hook in () if registry is None else registry.hooks:
            if hook.startswith(_SKIPPING):
                raise ModelError(
                    f"the interventions cannot run with the cache hook {hook!r} on {name or 'the transformer'}: blocks "
                    "that are skipped or replaced do not see the text; disable the cache"
                )
