"""Columns of prompt files that go along: found by name, path and pattern, with their types, under other names."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.prompt_columns import carried_in
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import preflight
from pipelines.flows.warnings import of_rows
from pipelines.plan.files import FAILED_PROMPTS, read_shard
from pipelines.plan.survey import Survey
from pipelines.plan.write import count_plan, write_plan
from pipelines.prompts.carry import Carried, discover
from pipelines.prompts.config import Prompts
from pipelines.prompts.templates.config import Template
from tests.conftest import Configure

EMBEDDED = {
    "model": {"path": "models/embedded/weights/pipeline"},
    "scoring": {"model": "local-dir:models/embedded/weights/clip"},
}
ROWS: list[dict[str, Any]] = [
    {"prompt": "a dot", "label": 3, "score": 1, "ok": True, "tags": ["a"], "meta": {"lang": "en", "box": [1, 2]}},
    {"prompt": "a star", "label": None, "score": 0.5, "tags": [], "meta": {"lang": "de", "deep": {"er": 7}}, "x": None},
]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def found(path: Path | str, carry: Any, taken: tuple[str, ...] = ()) -> dict[str, str]:
    columns = discover(Prompts(path=str(path), carry=carry), taken)
    return {one.name: str(one.kind) for one in columns}


def test_json_values_keep_their_types(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", ROWS)
    assert found(path, ("*",)) == {
        "label": "int64",
        "score": "double",  # a whole number in one row, another in the next
        "ok": "bool",
        "tags": "list<item: string>",
        "meta": "struct<lang: string, box: list<item: int64>, deep: struct<er: int64>>",
        "x": "string",  # never a value
    }
    assert found(path, ("meta.*", "label")) == {
        "lang": "string",
        "box": "list<item: int64>",
        "deep": "struct<er: int64>",
        "label": "int64",
    }
    assert found(path, ("meta.deep.er",)) == {"er": "int64"}
    assert found(path, {"class": "label", "text": "prompt"}) == {"class": "int64", "text": "string"}


def test_parquet_has_its_types_and_text_files_have_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a dot"],
            "small": pa.array([1], pa.int8()),
            "word": pa.array(["x"]).dictionary_encode(),
            "long": pa.array(["x"], pa.large_string()),
            "day": [datetime.date(2026, 11, 26)],
            "price": [Decimal("1.50")],
            "lists": pa.array([[1.0]], pa.large_list(pa.float32())),
            "bytes": [b"x"],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    wanted = ("small", "word", "long", "day", "price", "lists")
    assert found(tmp_path / "p.parquet", wanted) == {
        "small": "int8",
        "word": "string",
        "long": "string",
        "day": "string",
        "price": "string",
        "lists": "list<item: float>",
    }
    with pytest.raises(UserError, match=r"prompts.carry: .*p.parquet: 'bytes' has binary.*no bytes; leave it out"):
        found(tmp_path / "p.parquet", ("bytes",))
    (tmp_path / "p.csv").write_text("prompt,label,a.b\na dot,3,4\n")
    assert found(tmp_path / "p.csv", ("label", "a.*")) == {"label": "string", "a.b": "string"}


@pytest.mark.parametrize(
    ("carry", "error"),
    [
        (("labl",), r"no column 'labl'; did you mean 'label'\?; there are prompt, label, "),
        (("meta.x",), r"no column 'meta.x'"),
        (("z*",), r"no column is like 'z\*'; there are prompt, "),
        (("score",), r"rows have a column of the name 'score'.*gets another name: carry = \{ my_score = \"score\" \}"),
        (("label", "l*"), r"two carried columns would have the name 'label'"),
        (("mixed",), r"p.jsonl:3: 'mixed' has int64 and string; before it was int64: a column needs one type"),
        (("huge",), r"p.jsonl:3: 'huge' has a whole number beyond 64 bits"),
    ],
)
def test_what_cannot_go_along_is_refused_with_the_remedy(tmp_path: Path, carry: Any, error: str) -> None:
    rows = [*ROWS, {"prompt": "a sun", "mixed": "x", "huge": 1 << 70}]
    rows[0] = {**rows[0], "mixed": 1}
    with pytest.raises(UserError, match=error):
        found(written(tmp_path / "p.jsonl", rows), carry, taken=("score",))


@pytest.mark.parametrize("carry", [("label",), ("*",)])
def test_prompts_without_columns_have_nothing_to_carry(tmp_path: Path, carry: Any) -> None:
    (tmp_path / "p.txt").write_text("a dot\n")
    template = Template(text="a {shape}", slots={"shape": ["dot"]})
    for prompts in (Prompts(path=str(tmp_path / "p.txt"), carry=carry), Prompts(template=template, carry=carry)):
        with pytest.raises(UserError, match="plain text and templates have no columns: leave it out"):
            discover(prompts, ())


def test_a_column_that_cannot_go_along_is_in_nobodys_way(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", [{"prompt": "a", "x": 1, "y": 1}, {"prompt": "b", "x": "one", "y": 2}])
    assert found(path, ("y",)) == {"y": "int64"}


@pytest.mark.parametrize("name", ["clip_score", "prompt", "Prompt", "repulsion", "cads", "error", "shard", "id"])
def test_names_of_rows_are_taken(tmp_path: Path, configure: Configure, name: str) -> None:
    path = written(tmp_path / "p.jsonl", [{"prompt": "a dot", name: "x"}])
    with pytest.raises(UserError, match=f"rows have a column of the name '{name}'"):
        preflight.check(configure(prompts={"path": path, "carry": [name]}, **EMBEDDED))


def plan(path: str, configure: Configure, out: Path, before: Any = None, **prompts: Any) -> Any:
    config = preflight.check(configure(prompts={"path": path, **prompts}, group={"size": 1}, **EMBEDDED))
    counts = write_plan(config, Storage.open(out), before)
    return counts, read_shard(Storage.open(out), 0)


def test_values_stand_in_the_plan_and_the_columns_count_as_used(tmp_path: Path, configure: Configure) -> None:
    path = written(tmp_path / "p.jsonl", ROWS)
    _, table = plan(path, configure, tmp_path / "out", carry=["label", "meta", "score"])
    assert table.schema.names[-3:] == ["label", "meta", "score"]
    assert table["label"].to_pylist() == [3, None]
    assert table["score"].to_pylist() == [1.0, 0.5]
    assert table["meta"].to_pylist() == [
        {"lang": "en", "box": [1, 2], "deep": None},
        {"lang": "de", "box": None, "deep": {"er": 7}},
    ]
    assert [field.name for field in carried_in(table.schema)] == ["label", "meta", "score"]
    config = preflight.check(configure(prompts={"path": path, "carry": ["label", "meta.lang"]}, **EMBEDDED))
    survey = Survey(config)
    count_plan(config, survey)
    assert [*of_rows(config, survey)] == [
        "columns of the prompt files that are not used, not carried: score, ok, tags, x; prompts.carry takes them along"
    ]


def test_ids_do_not_depend_on_what_goes_along(tmp_path: Path, configure: Configure) -> None:
    path = written(tmp_path / "p.jsonl", ROWS)
    with_, without = (plan(path, configure, tmp_path / str(len(carry)), carry=carry)[1] for carry in (["label"], []))
    assert with_.drop_columns("label").equals(without)


def test_numbers_that_are_none_are_null_and_broken_text_costs_its_row(tmp_path: Path, configure: Configure) -> None:
    path = tmp_path / "p.jsonl"
    lines = [
        b'{"prompt": "a", "v": [NaN, 1.5], "t": "x"}',
        b'{"prompt": "b", "t": "\xff"}',
        b'{"prompt": "c", "t": "y"}',
        b'{"prompt": "d", "v": [9007199254740993]}',
    ]
    path.write_bytes(b"\n".join(lines))
    counts, table = plan(str(path), configure, tmp_path / "out", carry=["v", "t"])
    assert table["v"].to_pylist() == [[None, 1.5], None]
    assert counts.bad_prompts == 2
    assert pq.read_table(tmp_path / "out" / FAILED_PROMPTS)["error"].to_pylist() == [
        "t, which is carried along, has bytes that are not UTF-8 (or half a surrogate pair)",
        "v, which is carried along, has the whole number 9007199254740993, too large beside others that are not whole",
    ]


def test_objects_without_keys_are_null(tmp_path: Path, configure: Configure) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "m": {}, "l": [{}], "n": {"x": {}}},
        {"prompt": "b", "m": {}, "n": {"x": {"y": 1}}},
    ]
    _, table = plan(written(tmp_path / "p.jsonl", rows), configure, tmp_path / "out", carry=["m", "l", "n"])
    assert table["m"].to_pylist() == [None, None]
    assert table["l"].to_pylist() == [[None], None]
    assert table["n"].to_pylist() == [{"x": None}, {"x": {"y": 1}}]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"prompt": "a", "l\\ud800": 1}', r"p.jsonl:1: the name 'l.*ud800' is none that a column of rows can have"),
        ('{"prompt": "a", "": 1}', r"p.jsonl:1: the name '' is none that a column of rows can have"),
        ('{"prompt": "a", "m": {"l\\ud800": 1}}', r"p.jsonl:1: 'm' has a key .* with bytes that are not UTF-8"),
    ],
)
def test_names_that_columns_cannot_have_are_refused(tmp_path: Path, line: str, error: str) -> None:
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=error):
        found(tmp_path / "p.jsonl", ("*",))


def test_a_run_does_not_grow_by_rows_of_another_type(tmp_path: Path, configure: Configure) -> None:
    path = tmp_path / "p.jsonl"
    written(path, ROWS)
    counts, _ = plan(str(path), configure, tmp_path / "out", carry=["label"])
    written(path, [*ROWS, {"prompt": "a sun", "label": 4}])
    grown, _ = plan(str(path), configure, tmp_path / "out", counts, carry=["label"])
    assert grown.groups == counts.groups + 1
    written(path, [*ROWS, {"prompt": "a sun", "label": 4}, {"prompt": "a moon", "label": 4.5}])
    with pytest.raises(UserError, match=r"'label' is double, in .*plan it is int64.*choose another run.output"):
        plan(str(path), configure, tmp_path / "out", grown, carry=["label"])


def test_a_value_is_found_by_its_path() -> None:
    column = Carried(name="x", path=("a", "b"), kind=pa.int64())
    rows: list[dict[str, Any]] = [{"a": {"b": 1}}, {"a": {}}, {"a": 3}, {}]
    assert [column.of(values) for values in rows] == [1, None, None, None]
