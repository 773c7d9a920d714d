"""Where a family's text is, and that padding takes no part in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.families.base import BlockList
from models.interventions.tora.alignment import Alignment
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.prompt_direction import PromptDirection
from models.pictures import decoded
from tests.support.family import BOTH, SEEDS, TOLERANCE, TORA, Toy, apart, at_blocks, only, tokens_before


@contextmanager
def texts(toy: Toy, seen: Callable[[int, Tensor, bool], None]) -> Iterator[None]:
    """Show `seen` the tensor that holds the text at every block: (block number, tensor, is it the output?)."""

    def before(index: int, facts: BlockList) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            name = facts.text_argument
            seen(index, kwargs[name] if name in kwargs else args[facts.text_position], False)

        return hook

    def after(index: int, facts: BlockList) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            text = out if facts.text_output is None else out[facts.text_output]
            if text is not None:
                seen(index, text, True)

        return hook

    handles = []
    for index, (facts, block) in enumerate(toy.blocks()):
        handles.append(block.register_forward_pre_hook(before(index, facts), with_kwargs=True))
        handles.append(block.register_forward_hook(after(index, facts)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_the_text_is_where_the_table_says(toy: Toy) -> None:
    """The first block's text is the same for every seed; every block takes the text that the one before it gave."""
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    length, rows = len(encoded.valid_N), slice(-len(SEEDS), None)
    taken: dict[int, Tensor] = {}
    given: dict[int, Tensor] = {}

    def note(index: int, tensor: Tensor, output: bool) -> None:
        store = given if output else taken
        if index not in store:
            joined = toy.blocks()[index][0].text_output is None
            assert tensor.shape[1] > length if joined else tensor.shape[1] == length
            store[index] = tensor[rows, :length]

    with texts(toy, note):
        toy.generator.generate([toy.group()])
    assert apart(taken[0], taken[0][:1].expand_as(taken[0])) < 1e-6
    assert apart(given[0], given[0][:1].expand_as(given[0])) > 1e-6
    assert set(taken) == set(range(len(toy.blocks())))
    for index in range(1, len(taken)):
        assert torch.equal(taken[index], given[index - 1])


@pytest.mark.parametrize("site", ["block", "attention"])
def test_tora_gets_the_text_and_nothing_else(toy: Toy, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every block; in the first, nothing of the images is in it yet."""
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    seen: list[Tensor] = []
    align = Alignment.__call__

    def note(self: Alignment, text_RND: Tensor) -> Tensor:
        if "cond" in self._run.branches:
            seen.append(text_RND[-len(SEEDS) :].clone())
        return align(self, text_RND)

    monkeypatch.setattr(Alignment, "__call__", note)
    toy.generator.generate([toy.group(interventions=(replace(TORA, site=site),))])
    assert {text.shape[1] for text in seen} == {len(encoded.valid_N)}
    assert len(seen) % len(toy.blocks()) == 0
    assert apart(seen[0], seen[0][:1].expand_as(seen[0])) < 1e-6
    assert apart(seen[1], seen[1][:1].expand_as(seen[1])) > 1e-6


def test_the_valid_tokens_are_those_that_are_not_padding(toy: Toy) -> None:
    """Against the token ids that the language model gets; the toy tokenizers pad with 0. CLIP is not asked."""
    seen: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((kwargs["input_ids"] if "input_ids" in kwargs else args[0])[0] != 0)

    parts = toy.pipe.components.items()
    models = [m for name, m in parts if name.startswith("text_encoder") and "CLIP" not in str(type(m))]
    handles = [model.register_forward_pre_hook(note, with_kwargs=True) for model in models]
    opened = [decoded(picture) for picture in toy.pictures]
    try:
        with torch.inference_mode():
            valid = toy.family.encode(toy.pipe, "a red star", opened, toy.sampling).valid_N
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(valid, at_blocks(toy, seen[-1], len(valid), valid[: tokens_before(toy)]))


@pytest.mark.parametrize("site", ["block", "attention"])
def test_only_the_prompt_takes_part(toy: Toy, site: Any) -> None:
    """Of all that the first block, or its attention, is given, TORA changes the prompt's own tokens."""
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    own, valid, attended = encoded.own_N, encoded.valid_N, encoded.attended_N
    assert int(own.sum()) >= 3
    assert not (own & ~valid).any()
    assert not (valid & ~attended).any()
    assert torch.equal(_changed(toy, replace(TORA, site=site)), own)


@only("sd3", "cogview4", "flux2", "chroma")
def test_padding_that_is_read_takes_part_where_a_setting_says_so(toy: Toy) -> None:
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    padding = encoded.attended_N & ~encoded.valid_N
    assert padding.any()
    assert torch.equal(_changed(toy, replace(TORA, padding=True)), encoded.own_N | padding)


def _changed(toy: Toy, tora: ToraConfig) -> Tensor:
    """Which text tokens TORA changes at the first block, in all samples alike: bool [N]. Nothing else changes there."""
    length = len(toy.generator._texts.encode("a red star", toy.pictures, toy.sampling).own_N)
    facts, block = toy.blocks()[0]
    module = block if tora.site == "block" else getattr(block, facts.attention)
    names = [facts.text_argument] if tora.site == "block" else ["encoder_hidden_states", "hidden_states"]
    plain, aligned = (_given(toy, module, names, facts.text_position, config) for config in (None, tora))
    changed = (aligned != plain).any(-1)
    assert not changed[:, length:].any()
    assert torch.equal(changed, changed[:1].expand_as(changed))
    return changed[0, :length]


def _given(toy: Toy, module: nn.Module, names: list[str], position: int, tora: ToraConfig | None) -> Tensor:
    """The tensor with the text that the module's own forward gets in the first call, the positive branch's rows."""
    seen: list[Tensor] = []
    inner = module.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        named = [kwargs[name] for name in names if kwargs.get(name) is not None]
        seen.append((named or [args[position]])[0][-len(SEEDS) :])
        return inner(*args, **kwargs)

    module.forward = spy
    try:
        toy.generator.generate([toy.group(interventions=() if tora is None else (tora,))])
    finally:
        module.forward = inner
    return seen[0]


def test_text_that_the_model_does_not_read_does_not_matter(toy: Toy) -> None:
    """In a batch with a longer prompt, or at the model's own length, noise in masked tokens changes nothing."""
    groups = [toy.group(**BOTH), toy.group("a blue ring", (21, 22, 23), **BOTH)]
    cache = toy.generator._texts
    encoded = [cache.encode(group.prompt, group.pictures, group.sampling) for group in groups]
    if not any("mask" in name for name in encoded[0].arguments):
        pytest.skip("the model reads all its text tokens")
    before = toy.images(*groups)
    key = (groups[0].prompt, groups[0].pictures, groups[0].sampling, ())
    kept = cache._kept[key]
    padded = {
        name: value if "mask" in name or value.ndim < 3 else _noise_in_masked(kept.arguments, name)
        for name, value in kept.arguments.items()
    }
    cache._kept[key] = replace(kept, arguments=padded)
    try:
        after = toy.images(*groups)
    finally:
        cache._kept[key] = kept
    assert apart(after[0], before[0]) < TOLERANCE
    assert apart(after[1], before[1]) < TOLERANCE


def _noise_in_masked(arguments: dict[str, Tensor], name: str) -> Tensor:
    masks = {
        "prompt_embeds": ("prompt_embeds_mask", "prompt_attention_mask"),
        "prompt_embeds_2": ("prompt_embeds_mask_2",),
    }
    mask = next(arguments[m] for m in masks[name] if m in arguments).bool()
    noise = 30.0 * torch.randn(arguments[name].shape, generator=torch.Generator().manual_seed(5))
    return torch.where(mask.reshape(*mask.shape, *[1] * (noise.ndim - 2)), arguments[name], noise)


def test_the_semantic_vector_is_the_difference_at_the_first_block(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    if toy.family.layout == "one_call":
        pytest.skip("both branches are in every call")
    found: list[Tensor] = []
    look = PromptDirection._measure

    def note(self: PromptDirection, text_BND: Tensor) -> Tensor:
        text_BND = look(self, text_BND)
        found.append(self.value)
        return text_BND

    monkeypatch.setattr(PromptDirection, "_measure", note)
    toy.generator.generate([toy.group(interventions=(TORA,))])
    monkeypatch.undo()

    means = [_mean_at_first_block(toy, prompt) for prompt in ("a red star", "")]
    assert (found[0] - (means[0] - means[1])).abs().max() < 1e-5 * means[0].abs().max()


def _mean_at_first_block(toy: Toy, prompt: str) -> Tensor:
    own_N = toy.generator._texts.encode(prompt, toy.pictures, toy.sampling).own_N
    taken: list[Tensor] = []
    with texts(toy, lambda index, text, output: None if index or output else taken.append(text)):
        toy.generator.generate([toy.group(prompt)])
    text_BND = taken[0][:, : len(own_N)][:, own_N]
    return text_BND.sum(1) / max(1, text_BND.shape[1])
