"""Any bytes, cells, objects and columns as prompt files: one sentence about the file, or every row is accounted for."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.prompts.columns import TEXTS, Columns
from pipelines.prompts.formats import FORMATS, json_array, lines
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.support.prompt_files import read, written

CHEAP = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = [
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b'"',
    b'"prompt"',
    b"\\",
    b"1",
    b"\n",
    b"\r",
    b"\xff",
    b"\xfe",
    b"\0",
    b"prompt;x\n",
]
OTHERS = Columns(prompt_id="id", concept="concept")


@CHEAP
@given(st.binary(max_size=300), st.sampled_from([*FORMATS]))
@example(b"\xff\xfe\0", "csv")
@example(b"\xff\xfe\0\0\0", "text")
@example(b"PAR1" * 3, "parquet")
def test_any_bytes(tmp_path: Path, data: bytes, format: str) -> None:
    try:
        rows = read(written(tmp_path / "p", data), format=format)
    except UserError as error:
        assert f"{tmp_path}/p" in str(error)  # noqa: PT017
    else:
        assert all(isinstance(row, PromptRow | FailedPrompt) for row in rows)


@CHEAP
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.sampled_from([bytes, gzip.compress, lambda data: pa.compress(data, codec="zstd", asbytes=True)]),
    st.integers(0, 90),
    st.integers(0, 255),
    st.sampled_from([name for name, format in FORMATS.items() if format.text]),
    st.sampled_from(["auto", "latin-1", "utf-16-le", "shift_jis", "utf-7", "hz"]),
)
def test_any_bytes_in_any_layer(
    tmp_path: Path, data: bytes, compress: Any, at: int, damage: int, format: str, encoding: str
) -> None:
    packed = bytearray(compress(data))
    packed[at : at + 1] = bytes([damage])
    try:
        rows = read(written(tmp_path / "p", bytes(packed)), format=format, encoding=encoding)
    except UserError as error:
        assert f"{tmp_path}/p" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(row, PromptRow | FailedPrompt) for row in rows)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.sampled_from(
    ['"', '""', ' "x"', '"a', "é"]
)


@CHEAP
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    st.integers(0, 11),
    st.sampled_from(['"', '""', '"x', ',"']),
)
def test_a_quote_too_many_costs_a_line_of_csv(tmp_path: Path, rows: list[list[str]], at: int, damage: str) -> None:
    """Rows before and after a damaged line are read as if it were not there, unless they have quotes themselves."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["prompt", "id", "concept"], *rows])
    lines = file.getvalue().encode().splitlines(keepends=True)
    whole = [
        row.prompt for row in read(written(tmp_path / "p.csv", b"".join(lines)), duplicates="keep", columns=OTHERS)
    ]
    assert len(whole) == len(rows)
    at = 1 + min(at, len(rows))
    damaged = b"".join([*lines[:at], damage.encode() + b"damaged\r\n", *lines[at:]])
    found = read(written(tmp_path / "p.csv", damaged), duplicates="keep", columns=OTHERS)
    if b'"' not in b"".join(lines[at:]):
        assert len(found) == len(rows) + 1
        assert isinstance(found[at - 1], FailedPrompt)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TEXTS, "x"]), inner, max_size=4),
    max_leaves=4,
)


@CHEAP
@given(st.lists(JSON, max_size=5))
def test_any_json_rows(tmp_path: Path, values: list[Any]) -> None:
    path = written(tmp_path / "p.jsonl", "\n".join(map(json.dumps, values)))
    try:
        rows = read(path, duplicates="keep")
    except UserError as error:
        assert "has no column 'prompt'" in str(error)  # noqa: PT017
        assert not any("prompt" in value for value in values if isinstance(value, dict))
    else:
        assert len(rows) == len(values)
        assert not {row.concept for row in rows if isinstance(row, PromptRow)} & {"nan", "inf", "-inf"}


ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["prompt", "x", "["]), inner, max_size=3)
    ),
    max_leaves=6,
)


@CHEAP
@given(st.lists(ELEMENTS, max_size=6), st.integers(1, 20), st.sampled_from([None, 1]), st.booleans())
@example([12, "x"], 1, None, False)
@example([-0.0, 1e-300], 1, None, False)
def test_an_array_in_pieces_is_what_it_is_as_a_whole(
    values: list[Any], size: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_CHUNK_BYTES", size)
        assert [*json_array.elements(io.BytesIO(text), "p.json")] == json.loads(text.decode("utf-8", "surrogateescape"))


COLUMN = st.one_of(
    st.lists(st.none() | st.text(max_size=4), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(), min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.none() | st.datetimes() | st.just(float("nan")), min_size=3, max_size=3).map(
        lambda values: [None if isinstance(value, float) else value for value in values]
    ),
    st.lists(
        st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2, max_value=99, min_value=0),
        min_size=3,
        max_size=3,
    ),
    st.lists(st.none() | st.binary(max_size=3), min_size=3, max_size=3),
    st.lists(st.none() | st.lists(st.floats(), max_size=2), min_size=3, max_size=3),
)


@CHEAP
@given(st.lists(COLUMN, min_size=5, max_size=5))
def test_any_parquet_columns(tmp_path: Path, columns: list[list[Any]]) -> None:
    table = pa.table({name: pa.array(column) for name, column in zip(TEXTS, columns, strict=True)})
    assert len(read(written(tmp_path / "p.parquet", table), duplicates="keep")) == 3
