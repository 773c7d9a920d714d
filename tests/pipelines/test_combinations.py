"""Which combinations of values a template takes: counted, numbered and sampled exactly."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.prompts.config import Prompts
from pipelines.prompts.templates.combinations import Combinations
from pipelines.prompts.templates.config import Template
from pipelines.prompts.templates.permutation import Permutation
from pipelines.prompts.templates.rows import templates
from tests.support.templated import COLOURS, SHAPES, texts


def test_constraints_go_by_values_and_by_their_fields() -> None:
    pairs = {
        text.removeprefix("a ")
        for text in texts(
            "a {colour} {shape}",
            slots={"colour": COLOURS, "shape": SHAPES},
            only=({"colour": {"rarity": "rare"}}, {"shape": ["ring", "star"]}),
            not_together=({"colour": ["red", "orange"], "shape": "star"}, {"shape": "heart", "colour": "purple"}),
        )
    }
    assert pairs == {"purple star", "purple ring", "orange ring", "red ring"}


def test_several_fields_of_a_constraint_have_to_fit_together() -> None:
    colours = [*COLOURS, {"value": "teal", "rarity": "rare", "frequent": "blue"}]
    both = {"colour": {"rarity": "rare", "frequent": ["red", "blue"]}}
    one = {"colour": {"rarity": "rare", "frequent": "blue"}}
    assert texts("a {colour}", slots={"colour": colours}, only=(both,), not_together=(one,)) == ["a purple"]


BOXES = st.lists(st.tuples(*(st.sets(st.integers(0, size - 1)).map(lambda s: tuple(sorted(s))) for size in (4, 3, 2))))


@given(only=BOXES, without=BOXES)
def test_what_constraints_leave_is_counted_and_numbered_exactly(only: Any, without: Any) -> None:
    def inside(values: tuple[int, ...], boxes: Any) -> bool:
        return any(all(value in of for value, of in zip(values, box, strict=True)) for box in boxes)

    wanted = [
        values
        for values in product(range(4), range(3), range(2))
        if (not only or inside(values, only)) and not inside(values, without)
    ]
    found = Combinations((4, 3, 2), only, without)
    numbered = found.numbered([[1] * 4, [1] * 3, [1] * 2])
    assert found.count == numbered.count == len(wanted)
    values = numbered.values(np.arange(numbered.count, dtype=np.uint64)) if wanted else np.empty((3, 0))
    assert sorted(map(tuple, values.T.tolist())) == wanted


def test_huge_products_are_counted_at_once() -> None:
    slots = {name: [f"{name}{number}" for number in range(1000)] for name in "abcde"}
    table: dict[str, Any] = {"slots": slots, "not_together": ({"a": "a1", "b": "b1"},), "sample": 3}
    (filled,) = templates(Prompts(template=Template(text="{a} {b} {c} {d} {e}", **table)))
    assert filled.count == 10**15 - 10**9
    assert str(filled) == (
        "1,000 a x 1,000 b x 1,000 c x 1,000 d x 1,000 e: 999,999,000,000,000 combinations, 3 of them drawn"
    )
    assert len({*texts("{a} {b} {c} {d} {e}", **table)}) == 3


@given(st.integers(1, 700), st.integers(0, 2**63 - 1))
def test_a_permutation_has_each_number_once(count: int, seed: int) -> None:
    assert sorted(Permutation(count, seed)(np.arange(count))) == [*range(count)]


def test_samples_take_each_combination_equally_often() -> None:
    """9 of 36, by 1,000 seeds: chi squared of 36 counts, each of whose variance is 3/4 of what is expected of it."""
    counts = np.zeros(36)
    for seed in range(1000):
        counts[Permutation(36, seed)(np.arange(9)).astype(int)] += 1
    expected = 1000 / 4
    chi_squared = ((counts - expected) ** 2).sum() / (expected * 3 / 4)
    assert 12 < chi_squared < 75  # 35 degrees of freedom: both ends are one in ten thousand


def test_a_larger_sample_goes_on_from_a_smaller_one() -> None:
    table: dict[str, Any] = {"slots": {"a": [*"abcdefgh"], "b": [*"ABCDEFGH"]}}
    whole = texts("{a} {b}", **table)
    few, more = (texts("{a} {b}", sample=size, **table) for size in (9, 30))
    assert more[:9] == few
    assert len({*more}) == 30
    assert {*more} < {*whole}
    assert sorted(texts("{a} {b}", sample=1000, **table)) == sorted(whole)
    assert texts("{a} {b}", sample=9, sample_seed=1, **table) != few


def test_weights_say_what_is_drawn_more_often() -> None:
    slots = {"a": [{"value": "x", "weight": 8}, "y", "z"], "b": [str(number) for number in range(3000)]}
    found = texts("{a} {b}", slots=slots, sample=1000)
    assert len({*found}) == 1000
    counts = Counter(text[0] for text in found)
    # Without replacement it is a little less than 8 of 10: of 3,000 x a share is taken already.
    assert 700 < counts["x"] < 800
    assert counts["y"] + counts["z"] == 1000 - counts["x"]


def test_weights_that_cannot_be_kept_are_refused() -> None:
    slots = {"a": [{"value": "x", "weight": 1000}, "y"], "b": [{"value": "u", "weight": 1000}, "v"]}
    with pytest.raises(UserError, match="weights say what is drawn more often; set sample"):
        texts("{a} {b}", slots=slots)
    assert len(texts("{a} {b}", slots=slots, sample=3)) == 3
    slots |= {name: [{"value": "u", "weight": 1000}, "v"] for name in "cd"}
    with pytest.raises(UserError, match="still not 16 different combinations"):
        texts("{a} {b} {c} {d}", slots=slots, sample=16)
