"""How much of a prompt each text encoder of a family is not given: counted, and never more than the family can bear."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from models.errors import PromptError
from models.spec import TEXT_ENCODERS, Sampling
from tests.support.family import Toy, only


def read(toy: Toy, prompt: str, sampling: Sampling) -> dict[str, torch.Tensor]:
    """Text encoder -> the token ids that it is given of a prompt."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name in TEXT_ENCODERS:
        if (encoder := getattr(toy.pipe, name, None)) is not None:

            def note(_m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
                seen[name] = (kwargs["input_ids"] if "input_ids" in kwargs else args[0])[0]

            handles.append(encoder.register_forward_pre_hook(note, with_kwargs=True))
    try:
        with torch.inference_mode():
            toy.family.encode(toy.pipe, prompt, (), sampling)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def test_every_text_encoder_has_its_count(toy: Toy) -> None:
    there = {name for name, part in toy.pipe.components.items() if name.startswith("text_encoder") and part is not None}
    encoded = toy.generator._texts.encode("a red star", toy.pictures, toy.sampling)
    assert dict(encoded.cut) == dict.fromkeys(there, 0)
    assert there <= {*TEXT_ENCODERS}
    assert {*toy.family.in_part} < there


@only("sd3", "flux", "hunyuan-video")
def test_what_clip_does_not_read_is_counted_and_costs_nothing(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    """CLIP is given all tokens but as many as are counted, then its end mark; no library warns of each prompt."""
    long, sampling = "star" * 22, replace(toy.sampling, max_sequence_length=128)
    drawn = toy.generator.draw([toy.group(long, sampling=sampling)])[0]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {name for name, tokens in drawn.tokens_cut.items() if tokens} == {*toy.family.in_part}
    given = read(toy, long, sampling)
    for clip in toy.family.in_part:
        ids = getattr(toy.pipe, clip.replace("text_encoder", "tokenizer"))(long).input_ids
        kept = len(ids) - drawn.tokens_cut[clip]
        assert given[clip].tolist() == [*ids[: kept - 1], ids[-1]]


@only("hunyuan-image")
def test_quoted_text_that_is_not_spelt_to_its_end_is_counted(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.pipe, "tokenizer_2_max_length", 16)
    for text, cut in (("a sign", 0), ('a sign "red"', 0), ('a sign "red star"', 2)):
        assert toy.family.cut(toy.pipe, text, toy.sampling)["text_encoder_2"] == cut
    ids = toy.pipe.tokenizer_2('Text "red star". ').input_ids
    assert len(read(toy, 'a sign "red star"', toy.sampling)["text_encoder_2"]) == len(ids) - 2


@only("sd3", "qwen-image")
def test_the_negative_prompt_is_counted_where_it_is_read(toy: Toy) -> None:
    guided = replace(toy.sampling, negative_prompt="ring " * 9)
    drawn = toy.generator.draw([toy.group(sampling=guided)])[0]
    assert drawn.negative_tokens_cut == toy.generator._texts.encode("ring " * 9, (), guided).cut
    unguided = replace(toy.sampling, guidance_scale=1.0)
    assert not toy.generator.draw([toy.group(sampling=unguided)])[0].negative_tokens_cut


def test_a_prompt_that_no_encoder_reads_whole_is_an_error(toy: Toy) -> None:
    excess = toy.family.excess(toy.family.cut(toy.pipe, "star " * 300, toy.sampling))
    with pytest.raises(PromptError, match=f"the prompt is {excess} tokens longer"):
        toy.generator._texts.encode("star " * 300, toy.pictures, toy.sampling)
