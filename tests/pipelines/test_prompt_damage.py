"""Damaged and odd prompt files: a bad row costs itself only, and a file of no use is one sentence with its name."""

from __future__ import annotations

import codecs
import io
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.prompts.columns import Columns
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.support.prompt_files import read, shown, written

# Values that are none


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_no_text_in_json(tmp_path: Path, number: str) -> None:
    line = '{"prompt": "%s", "prompt_id": %s, "concept": %s, "rarity": %s, "counterfactual": %s}\n'
    path = written(tmp_path / "p.jsonl", "".join(line % (word, *[number] * 4) for word in ("a cat", "a dog")))
    rows = read(path)
    assert [row[1:5] for row in rows if isinstance(row, PromptRow)] == [
        ("a cat", None, None, None),
        ("a dog", None, None, None),
    ]
    assert shown(written(path, f'{{"prompt": {number}}}\n{{"prompt": "fine"}}')) == ["1 EmptyPrompt", "2 fine"]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_a_number_that_is_none_is_no_text_in_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([1.5, math.nan, math.inf, None], kind)
    table = pa.table({"prompt": ["a", "b", "c", "d"], "prompt_id": column, "concept": column})
    rows = read(written(tmp_path / "p.parquet", table))
    assert [row.concept for row in rows if isinstance(row, PromptRow)] == ["1.5", None, None, None]
    assert [row.prompt_id == "1.5" for row in rows if isinstance(row, PromptRow)] == [True, False, False, False]


def test_words_for_no_number_are_text_in_csv(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path / "p.csv", "prompt,concept\nnan,NaN\n"))
    assert isinstance(row, PromptRow)
    assert (row.prompt, row.concept) == ("nan", "NaN")


LATE = pa.array([2**62, None], pa.timestamp("us"))
"""A time that Python's own do not reach."""


@pytest.mark.parametrize(
    "column",
    [
        LATE,
        pa.array([Decimal("1.5"), None]),
        pa.array([b"bytes", None]),
        pa.array([[math.nan], None]),
        pa.array([{"a": math.nan}, None]),
        pa.Array.from_buffers(
            pa.list_(pa.string()),
            2,
            [pa.py_buffer(b"\x01"), pa.array([0, 1, 1], pa.int32()).buffers()[1]],
            children=[pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())],
        ),
    ],
    ids=lambda column: str(column.type),
)
def test_a_value_that_is_no_text_costs_its_row(tmp_path: Path, column: Any) -> None:
    path = written(tmp_path / "p.parquet", pa.table({"prompt": ["a", "b"], "concept": column}))
    assert shown(path) == ["1 NotText", "2 b"]
    (failed, _) = read(path)
    assert isinstance(failed, FailedPrompt)
    assert str(column.type).partition("<")[0] in failed.failure.error
    assert shown(written(path, pa.table({"prompt": column}))) == ["1 NotText", "2 EmptyPrompt"]


def test_categories_of_pandas_are_text(tmp_path: Path) -> None:
    column = pa.array(["cat", None, "cat"]).dictionary_encode()
    table = pa.table({"prompt": ["a", "b", "c"], "concept": column})
    assert [row.concept for row in read(written(tmp_path / "p.parquet", table)) if isinstance(row, PromptRow)] == [
        "cat",
        None,
        "cat",
    ]


# Text that shows nothing, and marks of joined files


@pytest.mark.parametrize(
    "text",
    [
        "\u200b",
        "\u00ad \u00ad",
        "\ufeff",
        "\u2060\u200d\u200c",
        "\u3164",
        "\u2800 \u2800",
        "\ufe0f",
        "\u202e\u2066",
        "\u0301",
    ],
    ids=ascii,
)
def test_what_shows_nothing_is_empty(tmp_path: Path, text: str) -> None:
    lines = [{"prompt": text}, {"prompt": "a cat", "concept": text}]
    failed, good = read(written(tmp_path / "p.jsonl", "\n".join(map(json.dumps, lines))))
    assert isinstance(failed, FailedPrompt)
    assert failed.failure.error_type == "EmptyPrompt"
    assert isinstance(good, PromptRow)
    assert good.concept is None


def test_marks_inside_of_text_stay(tmp_path: Path) -> None:
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "می\u200cخواهم"
    assert shown(written(tmp_path / "p.txt", f"{family}\n{persian}\n")) == [f"1 {family}", f"2 {persian}"]


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_joined_files_have_marks_between_lines(tmp_path: Path, ending: str, encoding: str) -> None:
    def line(word: str) -> str:
        return json.dumps({"prompt": word}, ensure_ascii=False) if ending == "jsonl" else word

    head = "prompt\n" if ending in ("csv", "tsv") else ""
    parts = [f"{head}{line('a cat')}\n{line('é 漢')}\n", f"{line('a dog')}\n"]
    path = written(tmp_path / f"p.{ending}", b"".join(part.encode(encoding) for part in parts))
    assert [row.prompt for row in read(path)] == ["a cat", "é 漢", "a dog"]


def test_a_mark_inside_of_a_line_is_taken_out_and_said(tmp_path: Path) -> None:
    first, second = read(written(tmp_path / "p.txt", "a cat\ufefffish\na sun\n"))
    assert isinstance(first, PromptRow)
    assert (first.prompt, first.prompt_changes) == ("a catfish", ("invisible",))
    assert second.prompt == "a sun"


# UTF-16


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.jsonl", "p.txt"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_utf_16_without_a_mark_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    path = written(tmp_path / name, '{"prompt": "a cat"}\n'.encode(encoding))
    with pytest.raises(UserError, match=rf"{name} is not readable as .*UTF-16 without .*prompts\.encoding to"):
        read(path)


def test_half_a_character_of_utf_16_costs_its_row(tmp_path: Path) -> None:
    path = written(
        tmp_path / "p.txt",
        codecs.BOM_UTF16_LE + "a cat\nhalf \ud800\nfine\nend".encode("utf-16-le", "surrogatepass") + b"x",
    )
    assert shown(path) == ["1 a cat", "2 UndecodableText", "3 fine", "4 UndecodableText"]


# JSON lines


def test_a_column_that_no_line_has_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", '{"prompt": "a"}\n' * 3)
    for limit in (0, 1):
        with pytest.raises(UserError, match=r"p\.jsonl has no column 'topic' for the concept; it has \['prompt'\]"):
            read(path, columns=Columns(concept="topic"), limit=limit)


def test_a_column_that_some_lines_have_is_fine(tmp_path: Path) -> None:
    lines = ["broken", "[1]", '{"prompt": "a"}', '{"topic": "x"}', '{"prompt": "b", "topic": "y"}']
    path = written(tmp_path / "p.jsonl", "\n".join(lines))
    columns = Columns(concept="topic")
    assert shown(path, columns=columns) == ["1 UnreadableRow", "2 UnreadableRow", "3 a", "4 EmptyPrompt", "5 b"]
    assert shown(path, columns=columns, limit=3)[-1] == "3 a"


def test_a_key_that_is_there_twice_costs_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path / "p.jsonl", '{"prompt": "a", "prompt": "b"}\n{"prompt": "c", "x": {"y": 1, "y": 2}}\n{"prompt": "d"}'
    )
    assert shown(path) == ["1 UnreadableRow", "2 UnreadableRow", "3 d"]
    (failed, *_) = read(path)
    assert isinstance(failed, FailedPrompt)
    assert failed.failure.error == "the row cannot be read: it has the key 'prompt' more than once"


def test_deep_and_long_json_costs_its_line(tmp_path: Path) -> None:
    lines = ["[" * 100_000, '{"prompt": ' + "9" * 5000 + "}", '{"prompt": "fine"}']
    assert shown(written(tmp_path / "p.jsonl", "\n".join(lines))) == ["1 UnreadableRow", "2 UnreadableRow", "3 fine"]


# CSV


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['"a "quote" inside",x', "fine,y"], ["2 UnreadableRow", "3 fine"]),
        (["a,x", '"never closed,x', "fine,y", "too,z"], ["2 a", "3 UnreadableRow", "4 fine", "5 too"]),
        (['"never closed,x', "fine,y", '"in quotes",z'], ["2 UnreadableRow", "3 fine", "4 in quotes"]),
        (['"two', 'lines",x', "fine,y"], ["2 two lines", "4 fine"]),
        (["", "a,x", "", "", "b,y"], ["3 a", "6 b"]),
        (['a,"', "b,y"], ["2 UnreadableRow", "3 b"]),
    ],
)
def test_a_bad_row_of_csv_costs_its_line(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    assert shown(written(tmp_path / "p.csv", "\n".join(["prompt,concept", *lines, ""]))) == expected
    assert shown(written(tmp_path / "p.csv", "\r\n".join(["prompt,concept", *lines]))) == expected


def test_a_huge_cell_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.prompts.formats.delimited._LARGEST_CELL", 1 << 10)
    text = "prompt\na cat\n" + "x" * 1025 + '\na dog\n"never closed\n' + "a sun\n" * 400
    said = shown(written(tmp_path / "p.csv", text), duplicates="drop")
    assert said == ["2 a cat", "3 UnreadableRow", "4 a dog", "5 UnreadableRow", "6 a sun"]


def test_a_failed_row_says_where_and_why(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", 'prompt\n"a" cat\nfine\n')
    failed, _ = read(path)
    assert isinstance(failed, FailedPrompt)
    assert failed.source == f"{path}:2"
    assert failed.failure.error.startswith("the row cannot be read: it is not CSV")
    with pytest.raises(UserError, match=r"p\.csv:1: the row cannot be read.*names of the columns"):
        read(written(path, '"prompt" x\nfine\n'))


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet"])
def test_two_columns_of_one_name_are_named(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        content: Any = pa.table([["a"], ["b"], ["c"]], names=["prompt", "prompt", "other"])
    else:
        content = "prompt,prompt,other\na,b,c\n".replace(",", "," if name.endswith("csv") else "\t")
    path = written(tmp_path / name, content)
    with pytest.raises(UserError, match=rf"{name} has 2 columns 'prompt'.*Rename all but one"):
        read(path)
    assert shown(path, columns=Columns(prompt="other"))[0].endswith(" c")


# Parquet


def table_bytes(**options: Any) -> bytes:
    file = io.BytesIO()
    rows = pa.table({"prompt": [f"{number} things" for number in range(5000)], "concept": ["x"] * 5000})
    pq.write_table(rows, file, use_dictionary=False, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[:50],
        lambda data: data[:-1],
        lambda data: data[:4] + b"\0" * 100 + data[-4:],
        lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1",
        lambda data: data[:-4] + b"PARE",
        lambda data: data[:200] + b"\xff" * 5000 + data[5200:],
        lambda data: data[:4] + b"\xff" * 40 + data[44:],
    ],
    ids=["empty", "start", "cut", "zeros", "footer", "encrypted", "page", "head"],
)
@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_damaged_parquet_is_named(tmp_path: Path, damage: Any, compression: str) -> None:
    path = written(tmp_path / "p.parquet", damage(table_bytes(compression=compression)))
    try:
        rows = read(path)
    except UserError as error:
        assert f"{path} is not readable as parquet" in str(error)  # noqa: PT017
    else:
        assert len(rows) == 5000  # without compression the damage is text
