"""What is made of a language model's answers: the texts in them, and their counterfactuals."""

from __future__ import annotations

from typing import Any

import pytest

from models.chat import NoAnswer
from pipelines.prompts.expansion.answers import texts_in
from pipelines.prompts.expansion.counterfactual import carried_over


@pytest.mark.parametrize(
    ("text", "prompt", "counterfactual", "found"),
    [
        ("A hairy frog on a hairy log", "a hairy frog", "a green frog", "A green frog on a hairy log"),
        ("Seen: an orange star, at sea", "an orange star", "a red star", "Seen: a red star, at sea"),
        ("An Orange Star", "an orange star", "a red star", "A red star"),
        ("Plaid fire trucks", "a plaid fire truck", "a red fire truck", "Red fire trucks"),
        ("a furry frog", "a hairy frog", "a green frog", None),
        ("a hairy frog and a hairy frog", "a hairy frog", "a green frog", None),
        ("a star in a purple sky", "a purple star", "a red star", None),
        ("hairy frogs", "a hairy frog", "a green frog", None),
        ("a frog at sea", "a frog", "a green frog", None),
        ("a big frog at sea", "a big frog", "a frog", "a frog at sea"),
        ("a bird on a hat", "a hat", "a cap", "a bird on a cap"),
        ("the frog", "frog", "toad", "the toad"),
        ("a frog", "a frog", None, None),
    ],
)
def test_a_counterfactual_is_carried_over_where_its_words_stand_once(
    text: str, prompt: str, counterfactual: str | None, found: str | None
) -> None:
    assert carried_over(text, prompt, counterfactual) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('["one dog", "two dogs"]', ["one dog", "two dogs"]),
        (
            'Sure! Here you are:\n```json\n{"prompts": ["one dog", "two  dogs", "ONE dog"]}\n```',
            ["one dog", "two dogs"],
        ),
        ('[{"prompt": "one dog"}, {"prompt": "two dogs"}]', ["one dog", "two dogs"]),
        ('{"1": "one dog", "2": "two dogs"}', ["one dog", "two dogs"]),
        ('<think>["no"]</think>["one dog"]', ["one dog"]),
        (
            "Here are some:\n\n1. one dog\n2) **two dogs**\n- “three dogs”\n# End\n---",
            ["one dog", "two dogs", "three dogs"],
        ),
        ("one [very] {old} dog", ["one [very] {old} dog"]),
        ("A dog\none dog [1]", ["one dog [1]"]),
        ("[" * 100_000 + "\none dog", ["one dog"]),
        ('["1", "2", "3", "4", "5"]', ["1", "2", "3"]),
        ('["Sorry cats", "I\'m sorry"]', None),
        ("", None),
        (None, None),
        ([{"type": "text"}], None),
        ("1. a DOG", None),
    ],
)
def test_texts_are_found_in_whatever_a_model_answers(content: Any, found: list[str] | None) -> None:
    if found is not None:
        assert texts_in(content, "a dog", 3) == found
        return
    with pytest.raises(NoAnswer):
        texts_in(content, "a dog", 3)
