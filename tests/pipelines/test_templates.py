"""Prompts from templates: exactly the combinations that are meant, each once, without a list of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

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
from pipelines.prompts.templates.config import Template
from pipelines.prompts.templates.distinct import all_different
from pipelines.prompts.templates.rows import templates
from tests.conftest import ROOT, Configure
from tests.support.prompt_files import written
from tests.support.templated import COLOURS, SHAPES, rows_of, texts


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
