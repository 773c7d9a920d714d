"""How an export is divided into splits."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.export import labels
from pipelines.export.parts import Part, Splits, parse


def rows(prompts: list[str], concepts: list[str | None] | None = None) -> pa.Table:
    return pa.table({"prompt": prompts, "concept": pa.array(concepts or [None] * len(prompts), pa.string())})


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1), max_size=30), st.lists(st.text(min_size=1), max_size=30))
def test_the_split_of_a_prompt_depends_on_nothing_else(prompts: list[str], more: list[str]) -> None:
    splits = parse(["test=0.3", "val=0.2"], "prompt")
    alone = splits.of(rows(prompts)).tolist()
    assert splits.of(rows(prompts + more)).tolist()[: len(prompts)] == alone
    assert splits.of(rows(prompts[::-1])).tolist() == alone[::-1]


def test_shares_are_about_what_was_asked_for() -> None:
    splits = parse(["val=0.2", "test=0.1"], "prompt")
    numbers = splits.of(rows([f"prompt {number}" for number in range(4000)])).tolist()
    assert splits.names == ("train", "test", "val")
    for number, share in enumerate((0.7, 0.1, 0.2)):
        assert numbers.count(number) / 4000 == pytest.approx(share, abs=0.03)


def test_what_has_no_concept_goes_by_its_prompt() -> None:
    by_concept, by_prompt = parse(["test=0.5"], "concept"), parse(["test=0.5"], "prompt")
    prompts = [f"prompt {number}" for number in range(40)]
    assert by_concept.of(rows(prompts)).tolist() == by_prompt.of(rows(prompts)).tolist()
    of_one = by_concept.of(rows(prompts, ["frog"] * 40)).tolist()
    assert len({*of_one}) == 1
    assert len({*by_prompt.of(rows(prompts)).tolist()}) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["test"], "--split 'test': '' is no number"),
        (["test=much"], "'much' is no number"),
        (["test=1"], "above 0 and below 1"),
        (["test=nan"], "above 0 and below 1"),
        (["train=0.5"], "write NAME=SHARE"),
        (["rejected=0.5"], "write NAME=SHARE"),
        (["my test=0.5"], "write NAME=SHARE"),
        (["test=0.1", "test=0.1"], "comes once"),
        (["test=0.5", "val=0.5"], "leaves nothing for train"),
    ],
)
def test_wrong_shares_are_named(words: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(words, "prompt")


@pytest.mark.parametrize(
    ("value", "found"), [("", []), (None, []), (7, ["7"]), (False, ["False"]), (["a", "", "b", "a"], ["a", "b"])]
)
def test_an_empty_text_is_no_label(value: Any, found: list[str]) -> None:
    assert labels.values({"label": value}, "label") == found


def test_no_two_parts_have_a_name() -> None:
    parts = [Part(folder=folder, split=split) for folder in ("data", "rejected") for split in ("train", "test")]
    assert [part.name for part in parts] == ["train", "test", "rejected", "rejected-test"]
    assert Splits().names == ("train",)
