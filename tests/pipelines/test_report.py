"""report.json and the running sums behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diversity import average_pair_vendi
from models.statistics import Mean, student_t_975
from pipelines.dataset import run_json
from pipelines.dataset.storage import Storage
from pipelines.flows.finish import finish
from pipelines.summary.audit import Audit
from pipelines.summary.report import report
from pipelines.summary.tally import MOST_RARITIES, OTHER_RARITIES, Cell, CellKey, add_cells, rarity_rank
from tests.support.toy_run import Toy, write_run

Groups = list[list[float]]
GROUPS = st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=5), min_size=2, max_size=12)


def mean_of(groups: Groups) -> Mean:
    return Mean.of(np.array([sum(g) for g in groups]), np.array([len(g) for g in groups], dtype=np.int64))


def rows_of(output: Storage) -> list[dict[str, Any]]:
    """All image rows, kept and rejected."""
    paths = [f"{folder}/{name}" for folder in ("data", "rejected") for name in output.list(folder)]
    return pa.concat_tables([pq.read_table(output.path(p)).drop_columns(["image"]) for p in paths]).to_pylist()


@given(GROUPS, st.integers(0, 12))
def test_sums_add_up_whatever_the_shards_are(groups: Groups, cut: int) -> None:
    whole, parts = mean_of(groups), mean_of(groups[:cut]) + mean_of(groups[cut:])
    values = [value for group in groups for value in group]
    assert parts.values == whole.values == len(values)
    assert parts.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert parts.half_width == pytest.approx(whole.half_width, abs=1e-5)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30))
def test_groups_of_one_give_the_plain_t_interval(values: list[float]) -> None:
    expected = student_t_975(len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert mean_of([[v] for v in values]).half_width == pytest.approx(expected, abs=1e-5)


def test_intervals_cover_the_truth_although_images_of_a_group_are_alike() -> None:
    rng = np.random.default_rng(1)
    covered = covered_if_images_were_independent = 0
    for _ in range(500):
        values = rng.normal(size=(20, 1)) + 0.3 * rng.normal(size=(20, 8))
        half = mean_of(values.tolist()).half_width
        assert half is not None
        covered += abs(values.mean()) < half
        covered_if_images_were_independent += abs(values.mean()) < 1.96 * values.std() / np.sqrt(values.size)
    assert 0.92 < covered / 500 < 0.98
    assert covered_if_images_were_independent / 500 < 0.7


@pytest.mark.parametrize(("degrees", "value"), [(1, 12.706), (5, 2.571), (11, 2.2010), (30, 2.042), (1000, 1.962)])
def test_student_t(degrees: int, value: float) -> None:
    assert student_t_975(degrees) == pytest.approx(value, abs=1e-3)


def test_no_interval_of_one_group_and_no_mean_of_none() -> None:
    assert mean_of([[1.0, 2.0]]).half_width is None
    assert Mean().mean is None


def test_report_says_what_the_rows_say(tmp_path: Path) -> None:
    output = write_run(tmp_path, Toy(prompts=9, fail_every=7))
    finish(output)
    made = json.loads(output.read_bytes("report.json"))
    rows = rows_of(output)
    assert made["counts"]["images"] == len(rows)
    assert [entry["arm"] for entry in made["by_arm"]] == ["base", "tora", "repulsion", "both"]
    for entry in made["by_arm_and_rarity"] + [{**arm, "rarity": ...} for arm in made["by_arm"]]:
        mine = [r for r in rows if r["arm"] == entry["arm"] and entry["rarity"] in (r["rarity"], ...)]
        assert entry["images"] == len(mine)
        assert entry["kept"] == sum(r["keep"] for r in mine)
        assert entry["duplicates"] == sum(r["duplicate_of"] is not None for r in mine)
        assert sum(entry["drop_reasons"].values()) == entry["images"] - entry["kept"]
        assert entry["clip_score"]["mean"] == pytest.approx(np.mean([r["clip_score"] for r in mine]), abs=1e-6)
        margins = [r["clip_margin"] for r in mine if r["clip_margin"] is not None]
        expected = pytest.approx(np.mean(margins), abs=1e-6) if margins else None
        assert entry["clip_margin"]["mean"] == expected
        on = [name for name in ("tora", "repulsion") if any(r[name] is not None for r in mine)]
        assert [*(entry.get("displacement") or {})] == on
        for name in on:
            moved = [r["displacement"][name] for r in mine if r[name] is not None]
            assert entry["displacement"][name]["mean"] == pytest.approx(np.mean(moved), abs=1e-6)
        groups: dict[str, list[Any]] = {}
        for row in mine:
            groups.setdefault(row["group_id"], []).append(row["embedding"])
        pairs = [average_pair_vendi(np.array(vectors, dtype=np.float32)) for vectors in groups.values()]
        assert entry["pair_vendi"]["mean"] == pytest.approx(np.mean(pairs), abs=1e-5)
        assert entry["pair_vendi"]["groups"] == len(groups) == entry["groups"] - entry["groups_failed"]


def test_an_intervention_that_moves_nothing_or_too_much_is_warned_of() -> None:
    def cell(*moved: float) -> Cell:
        return Cell(images=2, displacement={"tora": Mean.of(np.array(moved), np.ones(len(moved), dtype=np.int64))})

    cells: dict[CellKey, Cell] = {("idle", None): cell(0.0, 0.0), ("fair", None): cell(0.0, 1.9)}
    cells |= {("much", "rare"): cell(1.5, 1.5), ("much", None): cell(0.75), ("off", None): Cell(images=2)}
    idle, much = report(Audit(cells=cells), "", None).warnings
    assert idle.startswith("arm 'idle': tora moved no text")
    assert much.startswith("arm 'much': tora moves the text by 1.25 of its length on average, more than 1:")
    (alone,) = report(Audit(cells=cells), "", None, reads_apart={("much", "tora")}).warnings
    assert alone == idle


@pytest.mark.parametrize(
    ("asked", "warned"),
    [(True, False), ({"site": "attention"}, False), ({"site": "block"}, True)],
    ids=["the run's table", "attention", "block"],
)
def test_only_where_the_text_goes_on_changed_can_it_move_too_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, warned: bool
) -> None:
    monkeypatch.setattr("pipelines.summary.report.MOST_MOVED", 0.1)
    output = write_run(tmp_path, Toy(prompts=4))
    run = run_json.read(output)
    arms = [{**arm, "tora": asked} for arm in run.config["arms"]]
    run_json.write(output, replace(run, config={**run.config, "tora": {"site": "attention"}, "arms": arms}))
    finish(output)
    warnings = json.loads(output.read_bytes("report.json"))["warnings"]
    assert any("tora moves the text by" in warning for warning in warnings) == warned
    assert any("repulsion moves the text by" in warning for warning in warnings)


def test_report_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    reports = []
    for size in (1, 4, 100):
        output = write_run(tmp_path / str(size), Toy(prompts_per_shard=size))
        finish(output)
        reports.append(json.loads(output.read_bytes("report.json")))
    for made in reports[1:]:
        for ours, first in zip(made["by_arm_and_rarity"], reports[0]["by_arm_and_rarity"], strict=True):
            for measure in ("clip_score", "clip_margin", "group_vendi", "pair_vendi"):
                assert ours.pop(measure) == pytest.approx(first[measure], abs=2e-6)
            assert ours.items() <= first.items()


def test_rarities_run_from_common_to_unseen_then_other_words_then_none() -> None:
    words = ["unseen", None, "zebra", "rare", "common", "apple", "uncommon"]
    expected = ["common", "uncommon", "rare", "unseen", "apple", "zebra", None]
    assert sorted(words, key=rarity_rank) == expected


def test_a_rarity_column_of_numbers_does_not_swell_the_report() -> None:
    cells: dict[tuple[str, str | None], Cell] = {}
    for number in range(1000):
        add_cells(cells, {("arm", f"{number}"): Cell(images=1), ("arm", "rare"): Cell(images=1)})
    assert len(cells) == MOST_RARITIES + 1
    assert cells["arm", "rare"].images == 1000
    assert cells["arm", OTHER_RARITIES].images == 1000 - (MOST_RARITIES - 1)
