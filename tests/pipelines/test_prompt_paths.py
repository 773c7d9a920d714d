"""Columns inside of columns, by their path, and all the types in which Parquet has text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.dataset import parquet
from pipelines.errors import UserError
from pipelines.prompts.columns import Columns
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.support.prompt_files import read, shown, written

ROWS: list[dict[str, Any]] = [
    {"meta": {"caption": "a cat", "all": ["one", "two"], "deep": {"topic": "pets"}}, "a.b": "dotted"},
    {"meta": {"caption": "a dog", "all": ["three"], "deep": None}, "a.b": "dots"},
    {"meta": None, "a.b": "no meta"},
    {"meta": {"caption": None, "all": [], "deep": {"topic": "void"}}, "a.b": None},
]
COLUMNS = [
    (Columns(prompt="meta.caption", concept="meta.deep.topic"), ["a cat/pets", "a dog/None", "EmptyPrompt"]),
    (Columns(prompt="meta.all.0"), ["one/None", "three/None", "EmptyPrompt"]),
    (Columns(prompt="meta.all.1"), ["two/None", "EmptyPrompt", "EmptyPrompt"]),
    (Columns(prompt="a.b", concept="meta.caption"), ["dotted/a cat", "dots/a dog", "no meta/None"]),
]


def files(folder: Path) -> list[Path]:
    return [
        written(folder / "p.jsonl", "\n".join(map(json.dumps, ROWS))),
        written(folder / "p.json", json.dumps(ROWS)),
        written(folder / "p.parquet", pa.Table.from_pylist(ROWS)),
    ]


@pytest.mark.parametrize(("columns", "expected"), COLUMNS)
def test_a_path_leads_into_columns(tmp_path: Path, columns: Columns, expected: list[str]) -> None:
    for path in files(tmp_path):
        rows = read(path, columns=columns)
        said = [f"{row.prompt}/{row.concept}" if isinstance(row, PromptRow) else row.failure.error_type for row in rows]
        assert said == [*expected, "EmptyPrompt"], path


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    for path in files(tmp_path):
        for name in ("meta.captions", "meta.caption.0", "meta.deep.topic.x", "mete.caption", "meta.all.x"):
            with pytest.raises(UserError, match=rf"has no column '{name}' for the prompt; it has \['meta', 'a.b'\]"):
                read(path, columns=Columns(prompt=name))


@pytest.mark.parametrize("name", ["meta", "meta.all", "meta.deep"])
def test_a_value_with_values_inside_says_how_to_name_one(tmp_path: Path, name: str) -> None:
    for path in files(tmp_path):
        first, *_ = read(path, columns=Columns(prompt=name))
        assert isinstance(first, FailedPrompt)
        assert first.failure.error_type == "NotText"
        assert "a path to a value inside of it, such as 'meta.caption' or 'captions.0'" in first.failure.error


def test_of_parquet_only_the_value_itself_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Any] = []
    batches = parquet.Reader.batches
    monkeypatch.setattr(
        parquet.Reader,
        "batches",
        lambda self, rows, columns: wanted.append(columns) or batches(self, rows, columns),  # type: ignore[func-returns-value]
    )
    *_, path = files(tmp_path)
    read(path, columns=Columns(prompt="meta.all.0", concept="meta.deep.topic", rarity="a.b"))
    assert wanted == [["a.b", "meta.all", "meta.deep.topic"]]


TEXTS = ["a cat", "", None, "é"]
NESTED: list[Any] = [["a", "b"], [], None, ["é", None]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXTS, pa.string()),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_text_of_every_type(tmp_path: Path, column: Any) -> None:
    path = written(
        tmp_path / "p.parquet", pa.table({"prompt": column, "in": pa.StructArray.from_arrays([column], ["x"])})
    )
    assert shown(path) == ["1 a cat", "2 EmptyPrompt", "3 EmptyPrompt", "4 é"]
    assert shown(path, columns=Columns(prompt="in.x")) == ["1 a cat", "2 EmptyPrompt", "3 EmptyPrompt", "4 é"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
        pa.list_(pa.struct([("text", pa.string())])),
    ],
    ids=str,
)
def test_items_of_lists_of_every_type(tmp_path: Path, kind: Any) -> None:
    values: Any = NESTED
    structs = pa.types.is_struct(kind.value_type)
    if structs:
        values = [items and [{"text": item} for item in items] for items in NESTED]
    path = written(tmp_path / "p.parquet", pa.table({"c": pa.array(values, kind)}))
    name = "c.{}.text" if structs else "c.{}"
    assert shown(path, columns=Columns(prompt=name.format(0))) == ["1 a", "2 EmptyPrompt", "3 EmptyPrompt", "4 é"]
    assert shown(path, columns=Columns(prompt=name.format(1)))[0] == "1 b"
    assert shown(path, columns=Columns(prompt="c"))[0] == "1 NotText"
