"""What a person is told of the columns of prompt files before a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.flows import dry_run
from pipelines.flows.warnings import of_rows
from pipelines.plan.survey import Survey
from pipelines.plan.write import count_plan
from tests.conftest import Configure
from tests.support.planned import EMBEDDED, SCORING

COLUMNS = ["prompt", "steps", "Negative Prompt", "cfg", "seeed", "n", "group_id", "topic", "mood"]


def test_a_dry_run_says_what_rows_have(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": "a dot"}, {"prompt": "a star", "width": 128, "steps": 9}, {"prompt": "a sun", "steps": 9}]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "a dot", "steps": 0}]))
    config = configure(prompts={"path": str(path)}, model={"path": EMBEDDED}, scoring=SCORING)
    said = dry_run.describe(config).splitlines()
    assert "images   12 of 64 x 64, the largest of 128 x 64" in said
    assert said[:2] == [
        "prompts  3 (1 unusable, 0 repeats dropped)",
        f"unusable {path}:4: steps = 0 is out of range: needs 1 to 1000",
    ]
    assert capsys.readouterr().err == "rows of the prompt files have settings of their own: steps, width (3 buckets)\n"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_columns_that_do_nothing_are_named(tmp_path: Path, configure: Configure, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    table = pa.table({name: ["7"] for name in COLUMNS})
    if ending == "parquet":
        pq.write_table(table, path)
    elif ending == "csv":
        path.write_text(f"{','.join(COLUMNS)}\n{','.join('7' * len(COLUMNS))}\n")
    else:  # each key in a row of its own, far down
        lines = [{"prompt": "7"}, *({"prompt": name, name: "7"} for name in COLUMNS[1:])]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = configure(prompts={"path": str(path)})
    survey = Survey(config)
    count_plan(config, survey)
    acting, warning, others = of_rows(config, survey)
    assert acting.startswith("rows of the prompt files have settings of their own: steps (")
    named = re.findall(r"'(\S[^']*)' \(([^)]+)\)", warning)
    assert named == [
        ("Negative Prompt", "prompts.columns.negative_prompt = 'Negative Prompt'"),
        ("cfg", "prompts.columns.guidance_scale = 'cfg'"),
        ("seeed", "prompts.columns.seed = 'seeed'"),
        ("n", "prompts.columns.images = 'n'"),
        ("group_id", "this name has a meaning in rows"),
    ]
    assert "not used, not carried: topic, mood;" in others


def test_columns_that_are_used_or_left_alone_are_not_warned_of(tmp_path: Path, configure: Configure) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,id,seed\na dot,1,2\n")
    config = configure(prompts={"path": str(path), "columns": {"prompt_id": "id", "seed": "-"}})
    survey = Survey(config)
    count_plan(config, survey)
    assert [*of_rows(config, survey)] == [
        "columns of the prompt files that are not used, not carried: seed; prompts.carry takes them along"
    ]
