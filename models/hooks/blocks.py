"""Applies interventions to a transformer through diffusers' hooks, and removes them again.

Inside a block its input is changed first, then the text that its attention reads, then its output; at each of these
sites in the order of the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from models.denoising import Denoising
from models.errors import ModelError
from models.families.base import BlockList
from models.hooks.record import Change, TextRecord
from models.hooks.rows import RowHook
from models.interventions.base import Call, CallEdit, Edit, ImageEdit, Site, TextEdit
from models.interventions.registry import entry_of, in_order
from models.parallel.shards import WHOLE
from models.spec import InterventionConfig

HOOK = "raydiance"
ROW_HOOK = "raydiance_rows"
_SKIPPING = ("fbc_", "mag_cache", "sea_cache", "faster_cache", "pyramid_attention", "taylorseer", "layer_skip")
"""Beginnings of the names of diffusers' hooks that skip or replace blocks, or drop rows of the batch."""


@contextmanager
def interventions(
    transformer: nn.Module, run: Denoising, configs: Sequence[InterventionConfig], record: TextRecord
) -> Iterator[None]:
    """Run the body with interventions applied. Without any, a transformer whose rows are not divided is as it was: its
    calls are counted.

    transformer: of the pipeline.
    run: the denoising that the body makes.
    configs: settings of the interventions.
    record: gets the numbers of their edits of text.

    Raises:
        ModelError: when the transformer runs with a cache that skips blocks, or was compiled as a whole; or when an
            intervention does not support this model.
    """
    if configs or run.shards is not WHOLE:
        _check_every_block_runs(transformer)
    named = [(entry_of(config), config) for config in in_order(configs)]
    edits = [(entry.name, edit) for entry, config in named for edit in entry.begin(config, run)]
    hooks = [
        (block, _BlockHook(facts, run, edits, number, record))
        for number, (facts, block) in enumerate(run.family.blocks(transformer) if edits else ())
    ]
    around = [edit for _, edit in edits if isinstance(edit, CallEdit)]
    root = HookRegistry.check_if_exists_or_initialize(transformer)
    own = _CallHook(run, around, [hook for _, hook in hooks])
    try:
        if run.shards is not WHOLE:
            root.register_hook(RowHook(run, around), ROW_HOOK)
        root.register_hook(own, HOOK)
        for block, hook in hooks:
            HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, HOOK)
            if hook.edits_attention:
                attention = getattr(block, hook.facts.attention)
                HookRegistry.check_if_exists_or_initialize(attention).register_hook(_AttentionHook(hook), HOOK)
        yield
    finally:
        own.use_loras(transformer, True)
        root.remove_hook(HOOK, recurse=True)
        root.remove_hook(ROW_HOOK, recurse=False)


class _CallHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Records the start and the end of a transformer call, selects the edits of its blocks, and makes the edits around
    it."""

    def __init__(self, run: Denoising, edits: Sequence[CallEdit], blocks: list[_BlockHook]) -> None:
        super().__init__()
        self.run, self.edits, self.blocks = run, edits, blocks
        self.call = Call(forward=_no_forward_yet, args=(), kwargs={})
        self._without_loras = False

    def use_loras(self, module: nn.Module, wanted: bool) -> None:
        """Have the transformer's LoRAs act, or not; nothing is done where that is so already."""
        if wanted == self._without_loras:
            adapted: Any = module  # with diffusers' PeftAdapterMixin, as LoRAs act on it
            adapted.enable_lora() if wanted else adapted.disable_lora()
            self._without_loras = not wanted

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self.call = Call(forward=self.fn_ref.forward, args=args, kwargs=kwargs)
        self.run.begin_call(len(self.call.latents))
        self.use_loras(module, all(edit.loras for edit in self.edits if self.run.step in edit.steps))
        for block in self.blocks:
            block.begin_call()
        for edit in self.edits:
            if edit.before is not None and self.run.step in edit.steps:
                edit.before(self.call)
        return self.call.args, self.call.kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        afters = [edit.after for edit in self.edits if edit.after is not None and self.run.step in edit.steps]
        if afters:
            predicted = output[0] if isinstance(output, tuple) else output.sample
            for after in afters:
                predicted = after(self.call, predicted)
            output = (predicted, *output[1:]) if isinstance(output, tuple) else type(output)(sample=predicted)
        self.run.end_call()
        return output


class _BlockHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """The edits of one block.

    Those of the current call are stored in plain tuples when the call begins: a compiled block is recompiled for every
    new value that it reads from here, which is whether a site has edits at all.
    """

    def __init__(
        self, facts: BlockList, run: Denoising, edits: Sequence[tuple[str, Edit]], number: int, record: TextRecord
    ) -> None:
        super().__init__()
        self.facts, self.run = facts, run
        own = [(name, edit) for name, edit in edits if not isinstance(edit, CallEdit) and number in edit.blocks]
        self._text = [
            (edit, record.around(name, number, edit.change)) for name, edit in own if isinstance(edit, TextEdit)
        ]
        self._image = [edit for _, edit in own if isinstance(edit, ImageEdit)]
        self.edits_attention = any(edit.site == "attention input" for edit, _ in self._text)
        self.before: tuple[Change, ...] = ()
        self.at_attention: tuple[Change, ...] = ()
        self.after: tuple[Change, ...] = ()
        self.image_after: tuple[Change, ...] = ()

    def begin_call(self) -> None:
        self.before, self.at_attention = self._changes_at("block input"), self._changes_at("attention input")
        self.after = self._changes_at("block output")
        self.image_after = tuple(edit.change for edit in self._image if self.run.step in edit.steps)

    def _changes_at(self, site: Site) -> tuple[Change, ...]:
        return tuple(change for edit, change in self._text if edit.site == site and self.run.step in edit.steps)

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.before:
            return args, kwargs
        name, position = self.facts.text_argument, self.facts.text_position
        text = kwargs[name] if name in kwargs else args[position]
        text = _apply(self.before, text) if self.facts.text_output is not None else self.with_text(text, self.before)
        if name in kwargs:
            return args, kwargs | {name: text}
        return (*args[:position], text, *args[position + 1 :]), kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        if not self.after and not self.image_after:
            return output
        at = self.facts.text_output
        if at is None:
            length = self.run.own_length(self.run.branches[0])
            text, image = output[:, :length], output[:, length:]
            return torch.cat([_apply(self.after, text), _apply(self.image_after, image)], dim=1)
        parts = list(output)
        if parts[at] is not None:
            parts[at] = _apply(self.after, parts[at])
        parts[self.facts.image_output] = _apply(self.image_after, parts[self.facts.image_output])
        return tuple(parts)

    def with_text(self, joint: Tensor, changes: Sequence[Change]) -> Tensor:
        """Change the text that comes before the image in `joint`."""
        length = self.run.own_length(self.run.branches[0])
        return torch.cat([_apply(changes, joint[:, :length]), joint[:, length:]], dim=1)


class _AttentionHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Makes the edits of the normalised text that a block's attention reads."""

    def __init__(self, block: _BlockHook) -> None:
        super().__init__()
        self.block = block

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        changes = self.block.at_attention
        if not changes:
            return args, kwargs
        if kwargs.get("encoder_hidden_states") is not None:
            return args, kwargs | {"encoder_hidden_states": _apply(changes, kwargs["encoder_hidden_states"])}
        if "hidden_states" not in kwargs:
            return (self.block.with_text(args[0], changes), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self.block.with_text(kwargs["hidden_states"], changes)}


@torch.compiler.disable  # type: ignore[untyped-decorator] # torch leaves it untyped
def _apply(changes: Sequence[Change], tensor: Tensor) -> Tensor:
    """Make changes one after the other, outside of what a compiled block is made of: a block that held them would be
    compiled once more for every value of their settings."""
    for change in changes:
        tensor = change(tensor)
    return tensor


def _no_forward_yet(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("no transformer call has begun")


def _check_every_block_runs(transformer: nn.Module) -> None:
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
