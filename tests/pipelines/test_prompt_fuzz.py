"""Any bytes, cells, objects and columns as prompt files: one sentence about the file, or every row is accounted for."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.prompts.columns import TEXTS, Columns
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.rows import FailedPrompt, PromptRow
from tests.support.prompt_files import read, written

CHEAP = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
