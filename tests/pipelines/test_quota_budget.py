"""Which arms and prompts get the groups of a run with quotas."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.dataset.storage import Storage
from pipelines.flows.fill import fill
from pipelines.flows.finish import finish
from tests.support.job import rows
from tests.support.quota_world import Concept, World, configured, filled

pytestmark = pytest.mark.usefixtures("no_waiting_for_disks")


def test_the_bandit_gives_groups_to_the_arm_and_the_prompt_that_deliver(tmp_path: Path) -> None:
    """Of a concept whose quota needs many groups, and of one that learns from others."""
    prompts = {name: [f"{name} well", f"{name} fails"] for name in ("a", "b", "c", "d")}
    concepts = {name: Concept(modes=400, passes={"base": 0.1, "tora": 0.8}) for name in prompts}
    made = {}
    for budget in ("uniform", "bandit"):
        folder = tmp_path / budget
        folder.mkdir()
        config = configured(folder, prompts, {"accepted": 24, "most_groups": 100, "budget": budget})
        made[budget] = filled(config, concepts).images
        assert len(rows(folder / "out" / "data", "image_id")) == 4 * 24
        plan = rows(folder / "out" / "plan", "arm, prompt")
        delivers = sum(arm == "tora" and prompt.endswith("well") for arm, prompt in plan) / len(plan)
        assert delivers > 0.45 if budget == "bandit" else delivers == pytest.approx(0.25, abs=0.05)
    assert made["bandit"] < 0.75 * made["uniform"]


def test_arms_may_have_smaller_groups_and_work_counts_by_images(tmp_path: Path) -> None:
    """Small groups of which all images pass bring more for their work than large ones of which four in ten do, although
    a large group brings more than a small one."""
    arms = [{"name": "tora", "tora": True}, {"name": "tiny", "tora": True, "group_size": 2}]
    names = [f"concept {number}" for number in range(4)]
    tables = {"arms": arms, "group": {"size": 8}}
    config = configured(tmp_path, {name: [f"a {name}"] for name in names}, {"accepted": 40}, **tables)
    world = filled(config, {name: Concept(modes=4000, passes={"tora": 0.4}) for name in names})
    plan = rows(tmp_path / "out" / "plan", "arm, prompt, group_seeds")
    assert {(arm, len(seeds)) for arm, _, seeds in plan} == {("tora", 8), ("tiny", 2)}
    seeds = [seed for _, _, group in plan for seed in group]
    assert len(seeds) == len({*seeds}) == world.images
    assert len(rows(tmp_path / "out" / "data", "image_id")) == 4 * 40
    groups = Counter(arm for arm, *_ in plan)
    assert groups["tiny"] > 2 * groups["tora"]
    assert finish(Storage.open(tmp_path / "out")).complete
    certificate = pq.read_table(tmp_path / "out" / "certificate.parquet")
    assert {*certificate["best_arm"].to_pylist()} == {"tiny"}


def test_work_counts_by_steps_so_that_the_bandit_finds_out_what_they_are_worth(tmp_path: Path) -> None:
    """An arm with a quarter of the steps, of whose images half as many pass, brings twice as much for its work."""
    few = {"name": "few", "sampling": {"steps": 5}}
    names = [f"concept {number}" for number in range(4)]
    tables: dict[str, Any] = {"arms": [{"name": "base"}, few], "sampling": {"steps": 20}}
    config = configured(tmp_path, {name: [f"a {name}"] for name in names}, {"accepted": 40}, **tables)
    filled(config, {name: Concept(modes=4000, passes={"base": 0.8, "few": 0.4}) for name in names})
    assert {*rows(tmp_path / "out" / "plan", "arm, steps")} == {("base", 20), ("few", 5)}
    groups = Counter(arm for (arm,) in rows(tmp_path / "out" / "plan", "arm"))
    assert groups["few"] > 2 * groups["base"]
    assert len(rows(tmp_path / "out" / "data", "image_id")) == 4 * 40
    assert finish(Storage.open(tmp_path / "out")).complete
    assert {*pq.read_table(tmp_path / "out" / "certificate.parquet")["best_arm"].to_pylist()} == {"few"}


def test_texts_that_bring_nothing_new_the_second_time_are_drawn_once_before_any_is_drawn_again(tmp_path: Path) -> None:
    """Each text says everything, so that all its pictures are one mode."""
    prompts = {name: [f"{name} as text {at}" for at in range(30)] for name in ("a", "b", "c", "d")}
    config = configured(tmp_path, prompts, {"accepted": 20}, arms=[{"name": "base"}], group={"size": 1})

    class OneEach(World):
        def _row(self, group: dict[str, Any], index: int) -> dict[str, Any]:
            row = super()._row({**group, "concept": group["prompt"]}, index)
            return {**row, "concept": group["concept"]}

    world = OneEach(config, {text: Concept(modes=1) for texts in prompts.values() for text in texts})
    fill(config, Storage.open(config.run.output), world)
    assert len(rows(tmp_path / "out" / "data", "image_id")) == 4 * 20
    assert world.images < 1.15 * 4 * 20
