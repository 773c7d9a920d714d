"""Prompts from templates: exactly the combinations that are meant, each once, without a list of them."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.fingerprint import fingerprint
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import dry_run
from pipelines.plan.write import count_plan, write_plan
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.config import Prompts
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.rows import FailedPrompt, PromptRow
from pipelines.prompts.templates.combinations import Combinations
from pipelines.prompts.templates.config import Template
from pipelines.prompts.templates.distinct import all_different
from pipelines.prompts.templates.permutation import Permutation
from pipelines.prompts.templates.rows import templates
from tests.conftest import ROOT, Configure
from tests.support.prompt_files import written

COLOURS = [{"value": "purple", "rarity": "rare", "frequent": "red"}, "orange", "red"]
SHAPES = ["star", "ring", "heart"]


def rows_of(text: str, prompts: dict[str, Any] | None = None, **table: Any) -> list[Any]:
    return [*prompt_reading.read(Prompts(template=Template(text=text, **table), **(prompts or {})))]


def texts(text: str, **table: Any) -> list[str]:
    found = rows_of(text, **table)
    assert all(isinstance(row, PromptRow) for row in found), found
    return [row.prompt for row in found]


def test_a_template_is_all_combinations_with_their_labels() -> None:
    found = rows_of(
        "a(n) {colour} {shape}",
        slots={"colour": COLOURS, "shape": ["star", 7]},
        concept="{colour} {shape}",
        rarity="{colour.rarity}",
        counterfactual="a(n) {colour.frequent} {shape}",
    )
    assert [row[1:6] for row in found] == [
        ("a purple star", "purple star", "rare", "a red star", "prompts.template:1"),
        ("a purple 7", "purple 7", "rare", "a red 7", "prompts.template:2"),
        ("an orange star", "orange star", None, None, "prompts.template:3"),
        ("an orange 7", "orange 7", None, None, "prompts.template:4"),
        ("a red star", "red star", None, None, "prompts.template:5"),
        ("a red 7", "red 7", None, None, "prompts.template:6"),
    ]


def test_braces_percents_and_empty_values_are_literal() -> None:
    assert texts("  {{a}}  {x} of 100%s, A(n) {y}", slots={"x": ["", "{y}"], "y": ["owl", "cat"]}) == [
        "{a} of 100%s, An owl",
        "{a} of 100%s, A cat",
        "{a} {y} of 100%s, An owl",
        "{a} {y} of 100%s, A cat",
    ]


def test_a_counterfactual_that_is_the_prompt_is_none() -> None:
    colours = [{"value": "purple", "frequent": "red"}, {"value": "red", "frequent": "red"}]
    found = rows_of("a {c} star", counterfactual="a {c.frequent} star", slots={"c": colours})
    assert [row.counterfactual for row in found] == ["a red star", None]


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


@given(st.lists(st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "bb"]), min_size=1, max_size=3), max_size=4))
def test_equal_texts_are_foreseen(pieces: list[list[str]]) -> None:
    written = ["".join(one) for one in product(*({*piece} for piece in pieces))]
    assert all_different(pieces) == (len({*written}) == len(written))


@pytest.mark.parametrize(
    ("text", "slots", "different"),
    [
        ("a {x} {y}", {"x": ["red", "dark red"], "y": ["fire truck", "fire"]}, True),
        ("a(n) {x} {y}", {"x": ["orange", "red"], "y": ["owl"]}, True),
        ("{x} {y}", {"x": ["dark", "dark red"], "y": ["red star", "star"]}, False),  # dark red star
        ("{x} {y}", {"x": ["", "red"], "y": ["star"]}, False),
        ("{x}{y}", {"x": ["e", "o"], "y": ["\u0301", "r"]}, False),
        ("{x} {y}", {"x": ["grün", "é"], "y": ["पीला", "草"]}, True),
        ("{x}", {"x": ["a", "b"], "y": ["c", "d"]}, False),
    ],
)
def test_a_template_is_remembered_only_where_its_prompts_may_repeat(
    text: str, slots: dict[str, Any], different: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filled,) = templates(Prompts(template=Template(text=text, slots=slots)))
    assert filled.all_different == different
    added: list[int] = []
    monkeypatch.setattr(HashSet, "add", lambda _, number: added.append(number))
    rows_of(text, slots=slots)
    assert bool(added) != different


def test_prompts_of_files_and_templates_are_not_made_twice(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red star\na dot\n")
    one, two = (Template(text="a {x} star", slots={"x": of}) for of in (["red", "blue"], ["blue", "green"]))
    found = [*prompt_reading.read(Prompts(path=str(tmp_path / "p.txt"), template=(one, two)))]
    assert [row.prompt for row in found if isinstance(row, PromptRow)] == [
        "a red star",
        "a dot",
        "a blue star",
        "a green star",
    ]
    failed = [(row.source, row.failure.error_type) for row in found if isinstance(row, FailedPrompt)]
    assert failed == [("prompts.template[0]:1", "RepeatedPrompt"), ("prompts.template[1]:1", "RepeatedPrompt")]
    assert len([*prompt_reading.read(Prompts(path=str(tmp_path / "p.txt"), template=one, limit=3))]) == 3


def test_values_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "grounds.txt").write_text("snow\n\n  wet   sand \n")
    (tmp_path / "colours.csv").write_text("name,rarity,usual,hue\npurple,rare,red,300\nred,,,0\n")
    (tmp_path / "classes").write_text("n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n")
    columns = {"prompt": "name", "counterfactual": "usual"}
    found = rows_of(
        "a {colour} {thing} on {ground}",
        {"duplicates": "drop"},
        concept="{thing.concept}",
        rarity="{colour.rarity}",
        counterfactual="a {colour.counterfactual} {thing} on {ground}",
        not_together=({"colour": {"hue": [0]}, "ground": "wet sand"},),
        slots={
            "colour": {"path": str(tmp_path / "colours.csv"), "columns": columns},
            "thing": {"path": str(tmp_path / "classes"), "format": "classes"},
            "ground": str(tmp_path / "grounds.txt"),
        },
    )
    assert len(found) == 2 * 2 * 2 - 2
    assert found[0][1:5] == ("a purple tench on snow", "tench, Tinca tinca", "rare", "a red tench on snow")
    assert found[3][1:5] == ("a purple crane on wet sand", "crane", "rare", "a red crane on wet sand")
    assert found[-1][1:5] == ("a red crane on snow", "crane", None, None)
    colours = {"path": str(tmp_path / "colours.csv"), "columns": {"prompt": "name"}}
    found = rows_of("a {c} dot", slots={"c": colours}, counterfactual="a {c.usual} dot", concept="hue {c.hue}")
    assert [row[2:5] for row in found] == [("hue 300", None, "a red dot"), ("hue 0", None, None)]
    classes = [*prompt_reading.read(Prompts(path=str(tmp_path / "classes"), format="classes"))]
    assert classes[0][:3] == ("n01440764", "tench", "tench, Tinca tinca")
    assert isinstance(classes[2], FailedPrompt)


def test_files_of_values_are_read_like_files_of_prompts(tmp_path: Path) -> None:
    """NaN is no value, an encoding may be declared, and a text that cannot be drawn is named with file and line."""
    table = pa.table({"prompt": ["red", "blue"], "rarity": pa.array([float("nan"), 2.0])})
    colours = written(tmp_path / "colours.parquet", table)
    found = rows_of("a {c} dot", slots={"c": str(colours)}, rarity="{c.rarity}")
    assert [row[3] for row in found] == [None, "2.0"]
    places = written(tmp_path / "places.txt", "bar\ncaf\u00e9\n".encode("latin-1"))
    assert texts("a {p}", slots={"p": {"path": str(places), "encoding": "latin-1"}}) == ["a bar", "a caf\u00e9"]
    with pytest.raises(UserError, match=r"places.txt:2: the value has bytes that are no text in the encoding"):
        texts("a {p}", slots={"p": str(places)})
    with pytest.raises(UserError, match=r"no column 'x'.*Set prompts.template.slots.c.columns.prompt to one of them"):
        texts("a {c}", slots={"c": {"path": str(colours), "columns": {"prompt": "x"}}})
    nothing = written(tmp_path / "nothing.parquet", pa.table({"prompt": pa.array([1.0, float("nan")])}))
    with pytest.raises(UserError, match=r"nothing.parquet:2: there is no value"):
        texts("a {p}", slots={"p": str(nothing)})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"text": "a {color}"}, ["text names the slot 'color'", "did you mean 'colour'?"]),
        ({"text": "a {colour"}, ["[prompts.template]", "text = 'a {colour'", "written {{ and }}"]),
        ({"text": "a {colour!r}"}, ["{colour} is no {slot}"]),
        ({"text": "a star"}, ["needs one {slot} or more"]),
        ({"concept": "{shape}"}, ["concept names the slot 'shape'", "known: colour"]),
        ({"rarity": "{colour.rarty}"}, ["no value of the slot 'colour' has the field 'rarty'; did you mean 'rarity'?"]),
        (
            {"only": [{"colour": "rde"}]},
            ["prompts.template.only: colour: there is no value 'rde'; did you mean 'red'?"],
        ),
        ({"only": [{"colour": {"rarity": "rar"}}]}, ["there is no value with rarity = 'rar'; did you mean 'rare'?"]),
        ({"only": [{"shape": "x"}]}, ["only names the slot 'shape'"]),
        ({"not_together": [{"colour": ["red", "orange", "purple"]}]}, ["leave no combination"]),
        ({"slots": {"colour": []}}, ["slots.colour has no value"]),
        (
            {"slots": {"colour": ["red", " red"]}},
            ["slots.colour: the value 'red' is there twice", "prompts.duplicates"],
        ),
        ({"slots": {"colour": ["red", "re\u200bd"]}}, ["slots.colour: the value 'red' is there twice"]),
        ({"slots": {"colour": [{"weight": 2}]}}, ["slots.colour[0]: the key 'value' is missing"]),
        ({"slots": {"colour": [{"value": "a", "weight": 0}]}}, ["slots.colour[0].weight = 0 is out of range"]),
        ({"slots": {"colour": [True]}}, ["slots.colour[0] = True: must be text"]),
        ({"slots": {"colour": [float("nan")]}}, ["slots.colour[0] = nan: must be text or a number"]),
        ({"slots": {"colour": ["a\0"]}}, ["slots.colour[0]: the value has control characters"]),
        ({"slots": {"colour": 3}}, ["slots.colour = 3: must be an array"]),
        ({"slots": {"colour": "gone.txt"}}, ["prompts.template.slots.colour.path: there is no file gone.txt"]),
        ({"slots": {"colour": {"pth": "x"}}}, ["slots.colour: unknown key 'pth'; did you mean 'path'?"]),
        (
            {"slots": {"colour": {"path": "x", "columns": {"promt": "x"}}}},
            ["slots.colour.columns: unknown key 'promt'"],
        ),
        ({"sample": -1}, ["[prompts.template]", "sample = -1 is out of range"]),
        ({"smple": 1}, ["[prompts.template]: unknown key 'smple'; did you mean 'sample'?"]),
    ],
)
def test_what_does_not_fit_is_named(configure: Configure, table: dict[str, Any], words: list[str]) -> None:
    whole = {"text": "a {colour}", "slots": {"colour": COLOURS}, **table}
    with pytest.raises(UserError) as raised:
        count_plan(configure(prompts={"template": whole}))
    for word in words:
        assert word in str(raised.value)


def test_a_run_is_extended_by_a_larger_sample_and_by_values(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "shapes.txt").write_text("star\nring\n")
    output = Storage.open(tmp_path / "out")

    def config(sample: int, **table: Any) -> Any:
        slots = {"colour": ["red", "blue", "green"], "shape": str(tmp_path / "shapes.txt")}
        return configure(
            prompts={"template": {"text": "a {colour} {shape}", "slots": slots, "sample": sample, **table}}
        )

    small, large = config(2), config(6)
    assert fingerprint(small) == fingerprint(large)
    first = write_plan(small, output)
    grown = write_plan(large, output, first)
    assert (first.prompts, grown.prompts, len(grown.segments)) == (2, 6, 2)
    with pytest.raises(UserError, match=r"6 groups planned .* are not in what prompts\.template, prompts\.limit"):
        write_plan(config(0, text="one {colour} {shape}"), output, grown)
    before = prompt_reading.digests(large.prompts)
    (tmp_path / "shapes.txt").write_text("star\nring\nheart\n")
    assert prompt_reading.digests(large.prompts) != before
    assert write_plan(config(0), output, grown).prompts == 9


def test_a_dry_run_says_how_many_combinations_there_are(configure: Configure) -> None:
    slots = {"colour": COLOURS, "shape": SHAPES}
    table = {"text": "a {colour} {shape}", "slots": slots, "sample": 4, "not_together": [{"colour": "red"}]}
    embedded = {"path": str(ROOT / "models/embedded/weights/pipeline")}
    clip = {"model": f"local-dir:{ROOT}/models/embedded/weights/clip"}
    said = dry_run.describe(configure(prompts={"template": [table]}, model=embedded, scoring=clip)).splitlines()
    assert said[:2] == [
        "prompts  4 (0 unusable, 0 repeats dropped)",
        "template 3 colour x 3 shape: 6 combinations, 4 of them drawn",
    ]
