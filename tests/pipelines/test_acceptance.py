"""Expressions over the columns of scores: what they give, where a value is missing, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.config.expressions import check_columns, expression

COLUMNS: dict[str, list[float | None]] = {
    "margin": [0.5, -0.5, None],
    "score": [1.0, 2.0, 4.0],
    "vqa": [None, 0.9, 0.1],
    "odd": [float("nan"), 1.0, 2.0],
}


def values(text: str) -> list[Any]:
    return [*expression(text).values(COLUMNS, 3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score * 2 - 1", [1.0, 3.0, 7.0]),
        ("-score / 4 + 0.5 * margin", [0.0, -0.75, None]),
        ("score / (score - 2)", [-1.0, None, 2.0]),  # by zero: missing
        ("margin > 0", [True, False, None]),
        ("1 < score <= 2", [False, True, False]),
        ("score == 2 or score != 2", [True, True, True]),
        ("margin > 0 and vqa > 0.6", [None, False, False]),  # false decides, whatever the other is
        ("margin > 0 or vqa > 0.6", [True, True, None]),
        ("not margin > 0", [False, True, None]),
        ("not known(margin)", [False, False, True]),
        ("known(margin) and margin > 0 or not known(margin) and score > 3", [True, False, True]),
        ("rank(score)", [3, 2, 1]),
        ("rank(margin) <= 1", [True, False, None]),
        ("rank(odd)", [3, 2, 1]),  # what is no number comes last
        ("group_mean(margin)", [0.0, 0.0, 0.0]),
        ("score >= group_max(score) - 2", [False, True, True]),
        ("group_min(vqa)", [0.1, 0.1, 0.1]),
    ],
)
def test_what_an_expression_gives(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


def test_of_a_group_without_values_there_is_no_mean() -> None:
    assert expression("group_mean(x) > 0").values({"x": [None, None]}, 2) == [None, None]


def test_a_number_that_is_none_meets_no_comparison() -> None:
    nan = {"x": [float("nan")]}
    assert expression("x > 0").values(nan, 1) == expression("x <= 0").values(nan, 1) == [False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score >", "no expression"),
        ("score > 0)", "no expression"),
        ("__import__('os')", "a function of one value; known: known"),
        ("score.real > 0", "'score.real' is not allowed"),
        ("[score]", "is not allowed"),
        ("score ** 9 > 1", "is not allowed"),
        ("score > 'a'", "is not allowed"),
        ("score > True", "is not allowed"),
        ("score > 1e999", "is not allowed"),
        ("score if score else 1", "is not allowed"),
        ("(lambda: 1)() > 0", "is not allowed"),
        ("score in margin", "is not allowed"),
        ("group_men(score) > 0", "did you mean 'group_mean'?"),
        ("rank(score, margin) > 0", "a function of one value"),
        ("score and margin > 0", "'score': needs a comparison"),
        ("(score > 0) + 1", "'score > 0': needs a number"),
        ("not score", "'score': needs a comparison"),
        ("-" * 3000 + "1", "nested too deeply"),
        ("1 + " * 1500 + "1", "needs at most 4,000"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        expression(text)
    assert words in str(raised.value)


def test_a_column_that_nobody_gives_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"reads the column 'scor', .*did you mean 'score'\?"):
        check_columns(expression("margin > 0 and rank(scor) < 2"), [*COLUMNS])
    check_columns(expression("margin > 0 and rank(score) < 2"), [*COLUMNS])
