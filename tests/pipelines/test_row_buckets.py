"""Rows of equal settings fill shards together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.storage import Storage
from pipelines.plan import buckets as plan_buckets
from pipelines.plan.groups import groups_of
from pipelines.plan.write import write_plan
from pipelines.stages.isolate import packs_of_equal
from tests.conftest import Configure
from tests.support.planned import ARMS, Planner, Rows, groups


def test_rows_of_one_size_fill_batches_whatever_their_order(plan: Planner) -> None:
    """Four sizes in turn, in batches of 4: each batch is full, and no shard waits for all rows of a size."""
    rows: Rows = [{"prompt": f"p{n}", "width": 512 + 16 * (n % 4)} for n in range(64)]
    shards = plan(rows, arms=ARMS[:1], group={"size": 1, "groups_per_batch": 4}, output={"groups_per_shard": 8})
    for shard in shards:
        packs = packs_of_equal((group.batch_key for group in groups_of(shard)), 4)
        assert {len(pack) for pack in packs} == {4}
    assert [shard.num_rows for shard in shards] == [8] * 8
    assert sorted(row["prompt"] for row in groups(shards)) == sorted(row["prompt"] for row in rows)


def test_leftovers_share_shards_as_far_as_there_is_room(plan: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"p{n}", "steps": 1 + n // 3} for n in range(60)]
    shape: dict[str, Any] = {"arms": ARMS[:1], "group": {"size": 1}, "output": {"groups_per_shard": 8}}
    assert [shard.num_rows for shard in plan(rows, **shape)] == [6] * 10
    # With settings of its own in every row, and more rows than may wait, too.
    monkeypatch.setattr(plan_buckets, "MOST_WAITING", 16)
    each = [{"prompt": f"p{n}", "guidance_scale": 1 + n / 100} for n in range(60)]
    shards = plan(each, **shape)
    assert [shard.num_rows for shard in shards] == [8] * 7 + [4]
    assert [row["prompt"] for row in groups(shards)] == [row["prompt"] for row in each]


def test_large_images_come_in_smaller_shards(plan: Planner) -> None:
    rows = [{"prompt": f"p{n}", "width": 4096 if n % 2 else None, "height": 4096 if n % 2 else None} for n in range(44)]
    shards = plan(rows, arms=ARMS[:1], output={"groups_per_shard": 40})
    assert [shard["width"].to_pylist() for shard in shards] == [[4096] * 21, [1024] * 22 + [4096]]


def test_a_plan_with_settings_of_rows_grows(plan: Planner, tmp_path: Path, configure: Configure) -> None:
    path, output = tmp_path / "p.jsonl", Storage.open(tmp_path / "out")

    def write(rows: Rows, before: Any = None) -> Any:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return write_plan(configure(prompts={"path": str(path)}, group={"size": 2}), output, before)

    rows = [{"prompt": f"p{n}", "steps": 1 + n % 3} for n in range(7)]
    first = write(rows)
    grown = write([{"prompt": "p0"}, *rows, {"prompt": "new", "steps": 9}], first)
    assert (grown.groups - first.groups, grown.shards - first.shards) == (2, 1)
