"""SD3's two kinds of text encoder, CLIP and T5, and its two branches in one call, under TORA."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.interventions.tora.alignment import Alignment
from models.interventions.tora.reference import align_by_svd
from tests.support.family import SEEDS, TORA, Toy, only

pytestmark = only("sd3")
BLOCK = replace(TORA, site="block", sigma=2.0)
NEGATIVE = "a blue ring"


def first_call(toy: Toy, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Alignment, Tensor, Tensor]:
    """TORA, the text that it is given in the first call, and what it makes of it, both [negative; positive]."""
    seen: list[tuple[Alignment, Tensor, Tensor]] = []
    align = Alignment.__call__

    def note(self: Alignment, text_RND: Tensor) -> Tensor:
        text_RND, before_RND = align(self, text_RND), text_RND
        seen.append((self, before_RND, text_RND))
        return text_RND

    with monkeypatch.context() as patched:
        patched.setattr(Alignment, "__call__", note)
        negative = settings.pop("negative", "")
        sampling = replace(toy.sampling, negative_prompt=negative)
        toy.generator.generate([toy.group(sampling=sampling, interventions=(replace(BLOCK, **settings),))])
    return seen[0]


def own_of_clip_and_t5(toy: Toy, prompt: str) -> tuple[Tensor, Tensor]:
    own_N = toy.generator._texts.encode(prompt, toy.pictures, toy.sampling).own_N
    clip_N = torch.arange(len(own_N)) < toy.pipe.tokenizer_max_length
    return own_N & clip_N, own_N & ~clip_N


def rows_of(own_N: Tensor) -> Tensor:
    return own_N.expand(len(SEEDS), -1)


def test_a_set_for_each_encoder_or_one_for_all(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart, each encoder's tokens have a decomposition of their own; the semantic direction is one."""
    clip_N, t5_N = own_of_clip_and_t5(toy, "a red star")
    made: dict[str, Tensor] = {}
    for encoders, sets in (("together", [clip_N | t5_N]), ("apart", [clip_N, t5_N])):
        _, before_RND, after_RND = first_call(toy, monkeypatch, encoders=encoders)
        uncond_BND, cond_BND = before_RND.double().chunk(2)
        direction_BD = (cond_BND - uncond_BND)[:, clip_N | t5_N].mean(1)
        expected_BND = cond_BND
        for own_N in sets:
            expected_BND = align_by_svd(expected_BND, direction_BD, rows_of(own_N), BLOCK)
        made[encoders] = after_RND.chunk(2)[1]
        effect = (expected_BND - cond_BND).norm()
        assert (made[encoders] - expected_BND).norm() < 1e-4 * effect
    assert (made["apart"] - made["together"]).norm() > 0.1 * effect


def test_one_set_for_all_encoders_is_the_default(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, default_RND = first_call(toy, monkeypatch)
    _, _, together_RND = first_call(toy, monkeypatch, encoders="together")
    assert torch.equal(default_RND, together_RND)


def test_an_empty_negative_prompt_stays_as_it_is(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP's two marks and T5's one are three tokens, but no text."""
    encoded = toy.generator._texts.encode("", toy.pictures, toy.sampling)
    assert encoded.empty
    assert int(encoded.own_N.sum()) == 3
    _, before_RND, after_RND = first_call(toy, monkeypatch, branch="both")
    _, _, cond_only_RND = first_call(toy, monkeypatch, branch="cond")
    assert torch.equal(after_RND.chunk(2)[0], before_RND.chunk(2)[0])
    assert torch.equal(after_RND, cond_only_RND)
    assert not torch.equal(after_RND.chunk(2)[1], before_RND.chunk(2)[1])


def test_a_negative_prompt_is_changed_away_from_the_prompt(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    own_N = toy.generator._texts.encode(NEGATIVE, toy.pictures, toy.sampling).own_N
    _, before_RND, after_RND = first_call(toy, monkeypatch, branch="both", negative=NEGATIVE)
    _, _, cond_only_RND = first_call(toy, monkeypatch, branch="cond", negative=NEGATIVE)
    uncond_BND, cond_BND = before_RND.double().chunk(2)
    cond_own_N = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling).own_N
    direction_BD = (cond_BND - uncond_BND)[:, cond_own_N].mean(1)
    expected_BND = align_by_svd(uncond_BND, -direction_BD, rows_of(own_N), BLOCK)
    effect = (expected_BND - uncond_BND).norm()
    assert (after_RND.chunk(2)[0] - expected_BND).norm() < 1e-4 * effect
    assert torch.equal(after_RND.chunk(2)[1], cond_only_RND.chunk(2)[1])
    assert torch.equal(cond_only_RND.chunk(2)[0], before_RND.chunk(2)[0])
