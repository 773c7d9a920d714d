"""Pictures that prompts edit, in plans and in what a run keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.config.fingerprint import fingerprint
from pipelines.config.run import RunConfig
from pipelines.dataset import sources
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import synth
from pipelines.plan.files import FAILED_PROMPTS, check_there, read_shard, trim
from pipelines.plan.groups import groups_of
from pipelines.plan.write import count_plan, write_plan
from tests.conftest import Configure
from tests.support.pictured import BLUE, COLUMNS, RED, id_of, lines, png

Plan = Callable[..., tuple[RunConfig, PlanCounts]]


@pytest.fixture
def plan(tmp_path: Path, configure: Configure) -> Plan:
    """Plans rows in the same folder each time."""
    for name, data in {"red": RED, "blue": BLUE, "white": png("white")}.items():
        (tmp_path / f"{name}.png").write_bytes(data)

    def of(rows: Sequence[dict[str, Any]], before: PlanCounts | None = None, **prompts: Any) -> Any:
        path = lines(tmp_path, rows)
        config = configure(prompts={"path": str(path), "columns": COLUMNS, **prompts}, group={"size": 2})
        counts = write_plan(config, Storage.open(tmp_path / "out"), before)
        if before is None:
            assert count_plan(config).groups == counts.groups
        return config, counts

    return of


def planned(folder: Path, counts: PlanCounts) -> list[dict[str, Any]]:
    output = Storage.open(folder / "out")
    return [row for shard in counts.shard_numbers() for row in read_shard(output, shard).to_pylist()]


def kept(folder: Path) -> list[str]:
    output = Storage.open(folder / "out")
    return [row["source_id"] for path in sources.files(output) for row in pq.read_table(output.path(path)).to_pylist()]


def test_a_run_keeps_each_picture_once_and_needs_the_users_files_no_more(tmp_path: Path, plan: Plan) -> None:
    rows = [
        {"prompt": "make it blue", "picture": "red.png", "target_caption": "a blue square"},
        {"prompt": "make it dark", "picture": ["red.png", "blue.png"], "source_mask": "white.png"},
        {"prompt": "something new", "picture": None},
        {"prompt": "bad", "picture": "gone.png"},
        {"prompt": "make it blue", "picture": "blue.png", "prompt_id": "named"},
    ]
    _, counts = plan(rows)
    assert kept(tmp_path) == [id_of(RED), id_of(BLUE), id_of(png("white"))]
    found = planned(tmp_path, counts)
    assert [row["source_images"] for row in found] == [
        [id_of(RED)],
        [id_of(RED), id_of(BLUE)],
        None,
        [id_of(BLUE)],
    ]
    assert [row["source_mask"] for row in found] == [None, id_of(png("white")), None, None]
    assert [row["target_caption"] for row in found] == ["a blue square", None, None, None]
    (failed,) = pq.read_table(tmp_path / "out" / FAILED_PROMPTS).to_pylist()
    assert (failed["stage"], failed["error_type"]) == ("plan", "NoPicture")
    assert failed["source"].endswith("p.jsonl:4")
    for path in tmp_path.glob("*.png"):
        path.unlink()
    output = Storage.open(tmp_path / "out")
    groups = [
        group for shard in counts.shard_numbers() for group in groups_of(read_shard(output, shard), Sources(output))
    ]
    assert [group.pictures for group in groups] == [(RED,), (RED, BLUE), (), (BLUE,)]
    assert [group.mask for group in groups] == [None, png("white"), None, None]


def test_pictures_are_part_of_what_a_prompt_and_a_group_are(tmp_path: Path, plan: Plan) -> None:
    one, other = {"prompt": "make it dark", "picture": "red.png"}, {"prompt": "make it dark", "picture": "blue.png"}
    masked = {**one, "source_mask": "white.png"}
    _, counts = plan([one, other, masked, {"prompt": "make it dark"}, {**one, "steps": 3}, one])
    found = planned(tmp_path, counts)
    assert counts.bad_prompts == 1  # the last repeats the first
    assert len({row["prompt_id"] for row in found}) == len({row["group_id"] for row in found}) == 5
    drawn: dict[tuple[Any, ...], set[str]] = {}
    for row in found:
        drawn.setdefault(tuple(row["group_seeds"]), set()).add(f"{row['source_images']} {row['source_mask']}")
    assert len(drawn) == 4  # the row with other steps has the noise of the first
    assert all(len(of) == 1 for of in drawn.values())
    ids = set()
    for picture in ("red.png", "blue.png", None):
        _, counts = plan([{"prompt": "a", "picture": picture, "prompt_id": "same"}])
        ids |= {row["group_id"] for row in planned(tmp_path, counts)}
    assert len(ids) == 3


def test_the_strength_of_an_edit_is_a_setting_of_runs_and_of_rows_with_a_picture(
    tmp_path: Path, plan: Plan, configure: Configure
) -> None:
    one = {"prompt": "a", "picture": "red.png"}
    rows = [one, {**one, "denoising_strength": 0.3}, {"prompt": "b"}, {"prompt": "b", "denoising_strength": 0.3}]
    config, counts = plan(rows)
    found = planned(tmp_path, counts)
    assert [row["denoising_strength"] for row in found] == [0.6, None, 0.3]
    assert len({row["group_id"] for row in found}) == 3
    output = Storage.open(tmp_path / "out")
    groups = [one for shard in counts.shard_numbers() for one in groups_of(read_shard(output, shard), Sources(output))]
    assert [group.sampling.denoising_strength for group in groups] == [0.6, 0.6, 0.3]
    (failed,) = pq.read_table(tmp_path / "out" / FAILED_PROMPTS).to_pylist()
    assert "denoising_strength = 0.3 has no effect: the row has no picture" in failed["error"]

    def print_of(strength: float, columns: dict[str, str]) -> str:
        prompts = {"path": config.prompts.path, "columns": columns}
        return fingerprint(configure(prompts=prompts, sampling={"denoising_strength": strength}))

    assert print_of(0.5, {}) == print_of(0.7, {})
    assert print_of(0.5, COLUMNS) != print_of(0.7, COLUMNS)


def test_an_extension_adds_new_pictures_alone(tmp_path: Path, plan: Plan) -> None:
    rows = [{"prompt": "a", "picture": "red.png"}]
    _, first = plan(rows)
    _, second = plan([*rows, {"prompt": "b", "picture": ["red.png", "blue.png"]}], first)
    assert [(one.shards, one.sources) for one in second.segments] == [(1, 1), (1, 1)]
    assert kept(tmp_path) == [id_of(RED), id_of(BLUE)]
    output = Storage.open(tmp_path / "out")
    trim(output, second.segments)
    assert len(kept(tmp_path)) == 2
    trim(output, first.segments)
    assert kept(tmp_path) == [id_of(RED)]
    with pytest.raises(UserError, match=r"sources-000256-0000.parquet is not there"):
        check_there(output, second.segments)
    with pytest.raises(UserError, match=f"does not hold the picture {id_of(BLUE)}"):
        Sources(output).read([id_of(BLUE)])


def test_a_planning_that_fails_leaves_no_pictures(tmp_path: Path, plan: Plan) -> None:
    _, first = plan([{"prompt": "a", "picture": "red.png"}])
    with pytest.raises(UserError, match="what it has planned stays"):
        plan([{"prompt": "b", "picture": "blue.png"}], first)
    assert kept(tmp_path) == [id_of(RED)]


def test_a_retry_plans_rows_anew_whose_pictures_were_at_fault(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "a", "picture": "red.png"}, {"prompt": "b", "picture": "late.png"}]
    config, counts = plan(rows)
    output = Storage.open(tmp_path / "out")
    assert synth.plans_again(config, output)
    (tmp_path / "late.png").write_bytes(BLUE)
    _, counts = plan(rows, counts)
    assert [row["prompt"] for row in planned(tmp_path, counts)] == ["a", "b"]
    assert not synth.plans_again(config, output)
    plan([*rows, {"prompt": ""}], counts)
    assert not synth.plans_again(config, output)  # nothing outside of the prompt file can put it right


def test_pictures_fill_row_groups_and_files_of_limited_size(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ROW_GROUP_BYTES", 2 * len(RED))
    monkeypatch.setattr(sources, "FILE_BYTES", 4 * len(RED))
    colours = [(at, 0, 0) for at in range(11)]
    data = []
    for at, colour in enumerate(colours):
        data.append(png(colour))  # type: ignore[arg-type]
        (tmp_path / f"{at}.png").write_bytes(data[-1])
    _, counts = plan([{"prompt": str(at), "picture": f"{at}.png"} for at in range(11)])
    output = Storage.open(tmp_path / "out")
    groups = [pq.ParquetFile(output.path(path)).num_row_groups for path in sources.files(output)]
    assert counts.segments[0].sources == len(groups) == 3
    assert groups[:2] == [2, 2]
    assert Sources(output).read([id_of(one) for one in data]) == {id_of(one): one for one in data}
