"""Which text tokens are the prompt's own, and that no others have a say in what TORA makes of them; which of them stand
for some of its words, and that repulsion acts on these alone where it is told so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.errors import PromptError
from models.hooks.attention import _Watch, attention_to
from models.interventions.repulsion import groups
from models.interventions.tora.alignment import Alignment
from models.interventions.tora.prompt_direction import PromptDirection
from models.pictures import decoded
from models.spec import Group
from models.tokenizers import prompt_tokens
from tests.support.family import REPULSION, SEEDS, TORA, Toy, at_blocks, only, tokens_before

PROMPT = "a red star"
NEGATIVE = "a blue ring"
QUOTED = "a red dot, 'red OK'"
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


def holding(toy: Toy, words: str, prompt: str = PROMPT) -> Tensor:
    texts = toy.generator._texts
    return texts.holding(prompt, texts.encode(prompt, toy.pictures, toy.sampling), words)


def own(toy: Toy, prompt: str = PROMPT) -> Tensor:
    return toy.generator._texts.encode(prompt, toy.pictures, toy.sampling).own_N


def test_each_token_of_the_prompt_stands_for_a_word(toy: Toy) -> None:
    """The toys' tokenizers cut texts into bytes, or little more; SD3 has those of CLIP and of T5."""
    encoders = 2 if toy.family.name == "sd3" else 1
    words = [holding(toy, word) for word in PROMPT.split()]
    assert [int(found.sum()) >= encoders for found in words] == [True] * 3
    assert (torch.stack(words).sum(0) <= 1).all()
    whole = holding(toy, PROMPT)
    assert not (torch.stack(words).any(0) & ~whole).any()
    assert int((whole & ~torch.stack(words).any(0)).sum()) <= 2 * encoders  # spaces, where they are tokens
    assert not (whole & ~own(toy)).any()
    assert int((own(toy) & ~whole).sum()) <= 3  # CLIP's two marks, and T5's one
    if encoders == 1:
        first, second, third = (found.nonzero()[:, 0].tolist() for found in words)
        assert max(first) < min(second) <= max(second) < min(third)
        assert int(whole.sum()) == third[-1] + 1 - first[0]
        assert len(second) >= len("red") - 1 >= len(first)


def test_a_word_has_its_tokens_wherever_it_stands(toy: Toy) -> None:
    """Also in quotation marks, which some families spell letter by letter."""
    every, quoted = holding(toy, "red", QUOTED), holding(toy, "red OK", QUOTED)
    assert (every & quoted).any()
    assert (every & ~quoted).any()
    assert not (every & holding(toy, "dot", QUOTED)).any()


def test_a_word_that_is_not_there_costs_its_group(toy: Toy) -> None:
    with pytest.raises(PromptError, match="the prompt has no 'blue': 'a red star'"):
        toy.generator.generate([toy.group(interventions=(replace(REPULSION, keep_words="star, blue"),))])


@only("sd3", "qwen-image", "chroma")
@pytest.mark.parametrize("setting", ["vary_words", "keep_words"])
def test_repulsion_moves_their_tokens_alone_or_all_others(
    toy: Toy, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: dict[str, Tensor] = {}
    push = groups._Push.__call__

    def watched(self: Any, text_RND: Tensor) -> Tensor:
        after_RND = push(self, text_RND)
        for branch, rows in self.run.parts((after_RND != text_RND).any(-1)).items():
            moved[branch] = moved.get(branch, rows) | rows
        return after_RND

    monkeypatch.setattr(groups._Push, "__call__", watched)
    longer = f"{PROMPT} and a blue ring"
    words: dict[str, Any] = {setting: "red"}
    config = replace(REPULSION, strength=1.0, **words)
    sampling = replace(toy.sampling, negative_prompt="a blue ring")
    makes: list[Group] = [toy.group(prompt, interventions=(config,), sampling=sampling) for prompt in (PROMPT, longer)]
    toy.generator.generate(makes)
    wanted = torch.zeros_like(moved["cond"])
    for at, prompt in enumerate((PROMPT, longer)):
        read = toy.generator._texts.encode(prompt, toy.pictures, toy.sampling).attended_N
        found = holding(toy, "red", prompt)
        tokens = found if setting == "vary_words" else read & ~found
        wanted[at * len(SEEDS) : (at + 1) * len(SEEDS), : len(tokens)] = tokens
    assert torch.equal(moved["cond"], wanted)
    assert bool(moved["uncond"].any()) == (setting == "keep_words")  # a negative text has nothing to keep


@only("sd3", "flux", "qwen-image")
def test_the_text_lies_in_the_attention_where_the_family_says(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text tokens that are all the same have keys of one length, which those of a picture have not."""
    facts, block = toy.blocks()[0]
    keys: list[Tensor] = []

    def note(self: Any, query_RHSC: Tensor, key_RHSC: Tensor, *rest: Any) -> Tensor:
        keys.append(key_RHSC)
        return query_RHSC

    def same(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"encoder_hidden_states": torch.ones_like(kwargs["encoder_hidden_states"])}

    attention: Any = block.attn
    for name in ("norm_k", "norm_added_k"):  # which would make all keys equally long
        if getattr(attention, name) is not None:
            monkeypatch.setitem(attention._modules, name, nn.Identity())
    monkeypatch.setattr(_Watch, "_map", note)
    handle = attention.register_forward_pre_hook(same, with_kwargs=True)
    text_N = torch.ones(len(own(toy)), dtype=torch.bool)
    try:
        with attention_to(facts, block, text_N):
            toy.outputs(toy.group())
    finally:
        handle.remove()
    length_S = keys[0][-1, 0].norm(dim=-1)
    text_first = facts.attention_order == "text first"
    text = length_S[: len(text_N)] if text_first else length_S[-len(text_N) :]
    image = length_S[len(text_N) :] if text_first else length_S[: -len(text_N)]
    assert len(image) > 1
    assert float(text.max() / text.min()) < 1.001 < float(image.max() / image.min())


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
