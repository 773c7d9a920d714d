"""Prompt files of all kinds: every row is either a good prompt or a bad one, and a bad one costs itself only."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.columns import TEXTS, Columns
from pipelines.prompts.config import Prompts
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.rows import Dropped, FailedPrompt, PromptRow
from pipelines.prompts.wanted import Wanted
from tests.conftest import PROMPTS


def read(path: Path | str, **settings: Any) -> list[PromptRow | FailedPrompt | Dropped]:
    return list(prompt_reading.read(Prompts(path=str(path), **settings)))


def good(path: Path | str, **settings: Any) -> list[str]:
    return [row.prompt for row in read(path, **settings) if isinstance(row, PromptRow)]


def kinds(path: Path | str, **settings: Any) -> list[str]:
    """The problem of each row, or "" for a good one."""
    return [row.failure.error_type if isinstance(row, FailedPrompt) else "" for row in read(path, **settings)]


ROWS = [("a cat", "7", "cat", "rare", "a dog"), ("a, \"b\"", "8", None, None, None)]  # fmt: skip


def write_rows(path: Path) -> None:
    records = [dict(zip(TEXTS, row, strict=True)) for row in ROWS]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, TEXTS, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(records)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv", "tsv"])
def test_all_formats_say_the_same(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    write_rows(path)
    lines = {"parquet": (1, 2), "jsonl": (1, 2), "csv": (2, 3), "tsv": (2, 3)}[ending]
    assert read(path) == [
        PromptRow("7", "a cat", "cat", "rare", "a dog", f"{path}:{lines[0]}"),
        PromptRow("8", 'a, "b"', None, None, None, f"{path}:{lines[1]}"),
    ]


def test_columns_by_other_names(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("Prompt,Category,rarity\na cat,animal,rare\n")
    (row,) = read(path, columns=Columns(prompt="Prompt", concept="Category"))
    assert isinstance(row, PromptRow)
    assert (row.prompt, row.concept, row.rarity, row.counterfactual) == ("a cat", "animal", "rare", None)


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.csv", b"text\nx\n"), ("p.tsv", b"text\tb\nx\ty\n"), ("p.jsonl", b'{"text": "x"}\n')],
)
def test_a_missing_column_names_those_there_are(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"no column 'prompt'.*'text'"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("p.parquet", b"PAR1 not really", "not readable as parquet"),
        ("p.csv", b'"never closed\n', "needs the names of the columns"),
        ("p.csv", b"", "is empty"),
        ("p.xyz", b"a", "prompts.format"),
    ],
)
def test_a_file_of_no_use_is_named(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=word) as raised:
        read(tmp_path / name)
    assert name in str(raised.value)


def test_paths(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "[x].txt"):
        (tmp_path / name).write_text(f"from {name}")
    assert good(f"{tmp_path}/?.txt") == ["from a.txt", "from b.txt"]
    assert good(f"{tmp_path}/[x].txt") == ["from [x].txt"]
    both = Prompts(path=(f"{tmp_path}/b.txt", f"{tmp_path}/a.txt"))
    assert [row.source for row in prompt_reading.read(both)] == [f"{tmp_path}/b.txt:1", f"{tmp_path}/a.txt:1"]
    for gone in ("gone.txt", "gone*.txt", "gone/", "gone/*.txt"):
        with pytest.raises(UserError, match=r"prompts\.path"):
            read(f"{tmp_path}/{gone}")


def test_s3(s3: Storage) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        s3.write_bytes(name, json.dumps({"prompt": name}).encode())
    assert good(f"{s3.uri}/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert good(f"{s3.uri}/b.jsonl") == ["b.jsonl"]
    with pytest.raises(UserError, match="no file"):
        read(f"{s3.uri}/c.jsonl")


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        (None, "EmptyPrompt"),
        ("", "EmptyPrompt"),
        (" \t\n ", "EmptyPrompt"),
        (12, "NotText"),
        (True, "NotText"),
        (["a"], "NotText"),
        ("nul \0", "ControlCharacter"),
        ("esc \x1b[31m", "ControlCharacter"),
        ("half \ud800", "UndecodableText"),
        ("x" * 51, "TooLong"),
        ("x" * 50, ""),
        ("two\nlines\tand a tab", ""),
        ("\U0001f3a8 漢字 é", ""),
    ],
)
def test_what_a_prompt_may_be(tmp_path: Path, prompt: Any, kind: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": prompt}) + '\n{"prompt": "fine"}\n')
    assert kinds(path, max_characters=50) == [kind, ""]
    for row in read(path, max_characters=50):
        assert not isinstance(row, Dropped)
        (row.prompt or "").encode()  # raises for a text that cannot be written to Parquet


def test_broken_rows_are_counted(tmp_path: Path) -> None:
    jsonl = tmp_path / "p.jsonl"
    jsonl.write_bytes(b'{"prompt": "a"}\n[1]\n{broken\n\n{"prompt": "b \xff"}\n{"other": 1}\n{"prompt": "c"}')
    assert kinds(jsonl) == ["", "UnreadableRow", "UnreadableRow", "UndecodableText", "EmptyPrompt", ""]
    table = tmp_path / "p.csv"
    table.write_bytes(b'prompt,concept\r\na,b\r\nonly one\r\nx,y,z\r\n\xe9,q\r\n"two\nlines",b\r\n')
    assert kinds(table) == ["", "UnreadableRow", "UnreadableRow", "UndecodableText", ""]
    text = tmp_path / "p.txt"
    text.write_bytes(b"\xef\xbb\xbfbom\n\n\xff\nlast\x0bline")
    assert kinds(text) == ["", "UndecodableText", "ControlCharacter"]
    assert good(text) == ["bom"]


def test_parquet_with_undecodable_bytes(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"bad \xff", None], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "p.parquet")
    assert kinds(tmp_path / "p.parquet") == ["", "UndecodableText", "EmptyPrompt"]


def test_equal_texts_are_equal_however_they_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("caf\u00e9\ncafe\u0301\n  caf\u00e9  \nother\n")
    assert kinds(path) == ["", "RepeatedPrompt", "RepeatedPrompt", ""]
    assert good(path, duplicates="drop") == ["caf\u00e9", "other"]
    kept = [row for row in read(path, duplicates="keep") if isinstance(row, PromptRow)]
    assert [row.prompt for row in kept] == ["caf\u00e9"] * 3 + ["other"]
    assert len({row.prompt_id for row in kept}) == 4
    assert kept[0].prompt_id == read(path)[0][0]


def test_given_ids_are_unique(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt_id,prompt\n1,a\n1,b\n2,a\n3,c\n")
    assert kinds(path) == ["", "RepeatedPromptId", "RepeatedPrompt", ""]
    assert kinds(path, duplicates="keep") == ["", "RepeatedPromptId", "", ""]


def test_limit(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a\nb\nc\n")
    assert good(path, limit=2) == ["a", "b"]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).filter(str.strip), unique=True))
def test_csv_gives_back_what_was_written(texts: list[str]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["prompt"])
    writer.writerows([text] for text in texts)
    rows = list(FORMATS["csv"].read(io.BytesIO(file.getvalue().encode()), "p.csv", Wanted(Columns())))
    assert [values for _, values in rows] == [{"prompt": text} for text in texts]


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the PartiPrompts file is not beside this checkout")
def test_parti_prompts_keep_their_quotes() -> None:
    path = PROMPTS / "partiprompts" / "PartiPrompts.tsv"
    columns = Columns(prompt="Prompt", concept="Category")
    texts = good(path, columns=columns)
    assert len(texts) == 1632
    assert any(text.startswith('"G I G G L E" painted') for text in texts)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=300))
def test_the_flat_set_is_a_set(numbers: list[int]) -> None:
    flat, plain = HashSet(), set()
    for number in numbers:
        assert (number in flat) == ((number or 1) in plain)
        flat.add(number)
        plain.add(number or 1)


def test_the_flat_set_grows() -> None:
    flat = HashSet()
    for number in range(0, 3_000_000, 300):
        flat.add(number)
    assert all(number in flat for number in range(0, 3_000_000, 300))
    assert not any(number in flat for number in range(2, 3_000_000, 300))
