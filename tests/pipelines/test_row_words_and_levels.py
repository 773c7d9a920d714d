"""Words and noise levels in rows of prompt files, and those of the run that rows have to fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.storage import Storage
from pipelines.plan.files import FAILED_PROMPTS, read_shard
from pipelines.plan.groups import groups_of
from pipelines.plan.write import write_plan
from tests.conftest import Configure
from tests.support.planned import ARMS, Planner, Rows, groups


def test_words_that_a_prompt_has_not_cost_its_row(plan: Planner) -> None:
    rows: Rows = [
        {"prompt": "a starfish on sand", "vary": "star"},
        {"prompt": "a starfish on sand", "vary": "starfish, sand"},
        {"prompt": "a dot", "keep_words": "dot, , red"},
    ]
    (row,) = groups(plan(rows, columns={"vary_words": "vary"}, arms=ARMS[1:]))
    assert row["repulsion"]["vary_words"] == "starfish, sand"
    assert plan.failures() == [
        "1: vary_words = 'star': the prompt has no 'star': 'a starfish on sand'",
        "3: keep_words = 'dot, , red': the prompt has no 'red': 'a dot'",
    ]


def test_words_of_the_run_that_a_prompt_has_not_cost_its_row_before_a_model_is_loaded(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot"}, {"prompt": "a star"}, {"prompt": "a red ring", "keep_words": "red"}]
    shards = plan(rows, repulsion={"keep_words": "star"}, arms=ARMS)
    assert [row["prompt"] for row in groups(shards)] == ["a star"] * 2 + ["a red ring"] * 2
    assert plan.failures() == ["1: repulsion.keep_words = 'star': the prompt has no 'star': 'a dot'"]


def test_words_of_an_arm_that_does_not_act_are_asked_of_nobody(plan: Planner) -> None:
    shards = plan([{"prompt": "a dot"}], repulsion={"keep_words": "star"}, arms=ARMS[:1])
    assert len(groups(shards)) == 1
    assert plan.failures() == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_noise_levels_of_a_row_are_its_steps_in_every_format(tmp_path: Path, configure: Configure, suffix: str) -> None:
    path = tmp_path / f"p.{suffix}"
    prompts, levels = ["a dot", "a star", "a ring", "a sun"], [[1.0, 0.5], [], None, [0.5, 0.5]]
    if suffix == "parquet":
        pq.write_table(pa.table({"prompt": prompts, "sigmas": pa.array(levels, pa.list_(pa.float32()))}), path)
    elif suffix == "jsonl":
        rows = [json.dumps({"prompt": p, "sigmas": s}) for p, s in zip(prompts, levels, strict=True)]
        path.write_text("\n".join(rows))
    else:
        path.write_text('prompt,sigmas\na dot,"1, 0.5"\na star,[]\na ring,\na sun,"[0.5, 0.5]"\n')
    config = configure(prompts={"path": str(path)}, sampling={"steps": 3, "sigmas": [1.0, 0.9, 0.8]}, arms=ARMS[:1])
    counts = write_plan(config, Storage.open(tmp_path))
    found = [row for at in counts.shard_numbers() for row in read_shard(Storage.open(tmp_path), at).to_pylist()]
    assert {row["prompt"]: (row["steps"], row["sigmas"]) for row in found} == {
        "a dot": (2, [1.0, 0.5]),
        "a star": (3, None),
        "a ring": (3, [1.0, 0.9, 0.8]),
    }
    (failed,) = pq.read_table(tmp_path / FAILED_PROMPTS).to_pylist()
    assert failed["prompt"] == "a sun"
    assert "sigmas" in failed["error"]
    assert "each below the one before" in failed["error"]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"sigmas": [1.0, 0.5], "steps": 3}, "as many noise levels as there are steps (3)"),
        ({"sigmas": [1.0, "x"]}, "sigmas = 'x': must be a number"),
        ({"sigmas": {"a": 1}}, "sigmas = {'a': 1}: must be a list of numbers"),
        ({"sigmas": 0}, "sigmas = 0: must be a list of numbers"),
    ],
)
def test_noise_levels_that_do_not_fit_cost_their_row(plan: Planner, own: dict[str, Any], reason: str) -> None:
    assert groups(plan([{"prompt": "a dot", **own}, {"prompt": "a star"}]), "a dot") == []
    (failed,) = plan.failures()
    assert reason in failed


def test_noise_levels_of_the_run_reach_every_group_and_its_id(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot"}]
    own, named = (groups(plan(rows, sampling={"steps": 2, "sigmas": sigmas})) for sigmas in ([], [1.0, 0.25]))
    assert [row["sigmas"] for row in own + named] == [None] * 2 + [[1.0, 0.25]] * 2
    assert {row["group_id"] for row in own}.isdisjoint(row["group_id"] for row in named)
    assert own == groups(plan(rows, sampling={"steps": 2}))


def test_a_row_with_another_number_of_steps_than_the_runs_noise_levels_fails(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot", "steps": 3}, {"prompt": "a star", "steps": 2}]
    shards = plan(rows, sampling={"steps": 2, "sigmas": [1.0, 0.25]})
    assert {row["prompt"] for row in groups(shards)} == {"a star"}
    (failed,) = plan.failures()
    assert "as many noise levels as there are steps (3)" in failed
    assert [group.sampling.sigmas for group in groups_of(shards[0])] == [(1.0, 0.25)] * 2
