"""Which text tokens are the prompt's own, and that no others have a say in what TORA makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.families.base import prompt_tokens
from models.interventions.tora.alignment import Alignment
from models.interventions.tora.prompt_direction import PromptDirection
from models.pictures import decoded
from tests.support.family import SEEDS, TORA, Toy, at_blocks, only, tokens_before

PROMPT = "a red star"
NEGATIVE = "a blue ring"
BARE = ("T5", "CLIP")
"""Encoders that are given the bare prompt, whose marks count; language models put it in a template."""


def own_places(toy: Toy, prompt: str) -> Tensor:
    """The places of the prompt's tokens at the blocks, bool [N], from the token ids that the text encoders are given:
    in those of a language model the ids of the bare prompt are looked up."""
    seen = _ids_seen(toy, prompt)
    length = len(toy.generator._texts.encode(prompt, toy.pictures, toy.sampling).own_N)
    before = torch.zeros(tokens_before(toy), dtype=torch.bool)
    if toy.family.name == "sd3":  # CLIP's places, which its two encoders share, and T5's
        before[: len(toy.pipe.tokenizer(prompt).input_ids)] = True
        return at_blocks(toy, seen["text_encoder_3"] != 0, length, before)
    if toy.family.name in ("flux", "flux-kontext"):
        return seen["text_encoder_2"] != 0
    ids = seen["text_encoder"]
    if toy.family.name == "bria" and not prompt:  # which is zeros there
        return torch.zeros(length, dtype=torch.bool)
    if any(name in type(toy.pipe.text_encoder).__name__ for name in BARE):
        return at_blocks(toy, ids != 0, length, before)
    own = torch.tensor(toy.pipe.tokenizer(prompt, add_special_tokens=False).input_ids)
    windows = ids.unfold(0, len(own), 1) if len(own) else ids.new_zeros(0, 1)
    (at,) = (windows == own).all(-1).nonzero()[:, 0].tolist() if len(own) else (0,)
    places = (torch.arange(len(ids)) >= at) & (torch.arange(len(ids)) < at + len(own))
    quoted = int((seen["text_encoder_2"] != 0).sum()) if "text_encoder_2" in seen else 0
    return at_blocks(toy, places, length, before.new_zeros(quoted))


def _ids_seen(toy: Toy, prompt: str) -> dict[str, Tensor]:
    """Text encoder -> the token ids [tokens] that it is given; the toy tokenizers pad with 0, but for CLIP's."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[name] = (kwargs["input_ids"] if "input_ids" in kwargs else args[0])[0]

        return hook

    models = {n: m for n, m in toy.pipe.components.items() if n.startswith("text_encoder") and m is not None}
    handles = [model.register_forward_pre_hook(note(name), with_kwargs=True) for name, model in models.items()]
    opened = [decoded(picture) for picture in toy.pictures]
    try:
        with torch.inference_mode():
            toy.family.encode(toy.pipe, prompt, opened, toy.sampling)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@pytest.mark.parametrize("prompt", [PROMPT, "a sign that says 'OK'", ""])
def test_the_prompts_own_tokens(toy: Toy, prompt: str) -> None:
    encoded = toy.generator._texts.encode(prompt, toy.pictures, toy.sampling)
    expected = own_places(toy, prompt)
    assert torch.equal(encoded.own_N, expected)
    assert expected.any() or not prompt
    assert not (encoded.own_N & ~encoded.valid_N).any()


@only(
    "qwen-image",
    "qwen-image-edit",
    "qwen-image-edit-plus",
    "flux2",
    "flux2-klein",
    "hunyuan-image",
    "hunyuan-video",
    "cogview4",
    "ovis-image",
)
def test_a_language_models_template_is_not_the_prompts(toy: Toy) -> None:
    encoded = toy.generator._texts.encode(PROMPT, toy.pictures, toy.sampling)
    assert (encoded.valid_N & ~encoded.own_N).any()


@pytest.mark.parametrize("negative", ["", NEGATIVE])
def test_other_tokens_do_not_matter(toy: Toy, negative: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in place of the text tokens that are not the prompt's, wherever TORA looks, leaves the semantic direction
    and what it makes of the prompt's tokens as they are."""
    if negative and toy.family.layout == "distilled":
        pytest.skip("takes no negative prompt")
    own = own_places(toy, PROMPT)
    own_negative = own_places(toy, negative)
    made: list[Tensor] = []
    directions: list[Tensor] = []
    align, look = Alignment.__call__, PromptDirection._measure
    noisy = [False]

    def given(text_RND: Tensor, own_N: Tensor) -> Tensor:
        random = 30.0 * torch.randn(text_RND.shape, generator=torch.Generator().manual_seed(3))
        return torch.where(own_N[:, None], text_RND, random) if noisy[0] else text_RND

    def aligned(self: Alignment, text_RND: Tensor) -> Tensor:
        if "cond" not in self._run.branches:
            return align(self, text_RND)
        result_RND = align(self, given(text_RND, own))
        if len(made) == noisy[0]:  # the first call of each run
            made.append(result_RND[-len(SEEDS) :, own])
        return result_RND

    def looked(self: PromptDirection, text_BND: Tensor) -> Tensor:
        if not self._found:
            look(self, given(text_BND, own_negative if self._in_negative_run else own))
            directions.append(self.value)
        return text_BND

    monkeypatch.setattr(Alignment, "__call__", aligned)
    monkeypatch.setattr(PromptDirection, "_measure", looked)
    group = toy.group(
        sampling=replace(toy.sampling, negative_prompt=negative), interventions=(replace(TORA, site="block"),)
    )
    for noisy[0] in (False, True):
        toy.generator.generate([group])
    assert torch.equal(made[0], made[1])
    assert len(directions) in (0, 2)
    assert len({tuple(each.flatten().tolist()) for each in directions}) <= 1


def test_prompt_tokens() -> None:
    def places(ids: list[int], without: list[int]) -> list[int]:
        return prompt_tokens(ids, without).nonzero()[:, 0].tolist()

    assert places([1, 2, 8, 9, 3, 4], [1, 2, 3, 4]) == [2, 3]
    assert places([1, 2, 3], [1, 2, 3]) == []
    assert places([1, 2, 2, 3], [1, 2, 3]) == [2]
    assert places([1, 2, 8, 2, 3], [1, 2, 3]) == [2, 3]
    assert places([1, 2, 8, 3, 3], [1, 2, 3]) == [2, 3]
    assert places([1, 2, 8], [1, 2]) == [2]
    assert places([8, 3], [3]) == [0]
    assert places([8], []) == [0]
    # Joined to the letters before, or after.
    assert places([1, 7, 8, 3], [1, 2, 3]) == [1, 2]
    assert places([1, 2, 8, 7], [1, 2, 3]) == [2, 3]
