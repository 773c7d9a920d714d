"""The plan: every prompt in every arm, once, in an order and with seeds that never change."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.seeds import image_seed
from pipelines.dataset import schema
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.plan import buckets as plan_buckets
from pipelines.plan import files as plan_files
from pipelines.plan.files import read_shard
from pipelines.plan.groups import group_table, groups_of
from pipelines.plan.shard_size import MOST_GROUPS_PER_SHARD, groups_per_shard, prompts_per_shard
from pipelines.plan.variants import Variants
from pipelines.plan.write import count_plan, write_plan
from pipelines.prompts.rows import PromptRow
from tests.conftest import Configure

ARMS = [{"name": "stock"}, {"name": "tora", "tora": True}, {"name": "both", "tora": True, "repulsion": True}]


def write_prompts(folder: Path, count: int) -> str:
    path = folder / "many.txt"
    path.write_text("".join(f"prompt {number}\n" for number in range(count)))
    return str(path)


def test_a_group_is_what_the_config_says(configure: Configure, tmp_path: Path) -> None:
    config = configure(
        arms=ARMS,
        group={"size": 3, "groups_per_prompt": 2},
        tora={"sigma": 1.2, "steps": [0.1, 0.9]},
        repulsion={"strength": 3.0},
        sampling={"steps": 5, "negative_prompt": "blurry"},
        run={"output": "x", "seed": 11},
    )
    output = Storage.open(tmp_path / "out")
    counts = write_plan(config, output)
    assert (counts.prompts, counts.groups, counts.images, counts.shards) == (2, 12, 36, 1)
    table = read_shard(output, 0)
    assert table.schema == schema.plan()
    groups = groups_of(table)
    assert [g.prompt for g in groups] == ["a red square"] * 6 + ["a purple star"] * 6
    assert table["arm"].to_pylist() == ["stock", "tora", "both"] * 4
    assert all(g.sampling == config.sampling for g in groups)
    tora, repulsion = ToraConfig(sigma=1.2, steps=(0.1, 0.9)), RepulsionConfig(strength=3.0)
    assert [g.interventions for g in groups[:3]] == [(), (tora,), (tora, repulsion)]
    first_id = table["prompt_id"][0].as_py()
    assert groups[0].seeds == groups[2].seeds == tuple(image_seed(11, str(first_id), i) for i in range(3))
    assert groups[3].seeds == tuple(image_seed(11, str(first_id), i) for i in range(3, 6))
    assert len(set(table["group_id"].to_pylist())) == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"run": {"output": "x", "seed": 1}},
        {"model": {"path": "owner/other"}},
        {"model": {"path": "owner/model", "revision": "v2"}},
        {"model": {"path": "owner/model", "dtype": "float16"}},
        {"model": {"path": "owner/model", "weights": "float8"}},
        {"model": {"path": "owner/model", "compile": True}},
        {"sampling": {"steps": 3}},
        {"tora": {"sigma": 1.2}},
        {"repulsion": {"strength": 2.0}},
        {"group": {"size": 5}},
    ],
)
def test_group_ids_follow_what_changes_pixels(configure: Configure, tmp_path: Path, changes: dict[str, Any]) -> None:
    def ids(name: str, **tables: Any) -> set[Any]:
        output = Storage.open(tmp_path / name)
        write_plan(configure(**tables), output)
        return set(read_shard(output, 0)["group_id"].to_pylist())

    elsewhere = {"path": "owner/model", "device": "cpu", "offload": "model"}
    assert ids("a") == ids("b", ray={"generators": 2}, scoring={"model": "ViT-B-16"}, model=elsewhere)
    assert not ids("a") & ids("c", **changes)


def test_ids_of_groups_stay_whatever_the_row_contract_and_later_settings_are(configure: Configure) -> None:
    """Those of the second version of the row contract, before there was `tora.encoders`: seeds and ids name pixels."""
    config = configure(
        run={"output": "x", "seed": 11},
        group={"size": 2},
        tora={"sigma": 1.5},
        repulsion={"strength": 3.0},
        arms=[
            {"name": "stock"},
            {"name": "tora", "tora": {"sigma": 1.2, "steps": [0.1, 0.9]}},
            {"name": "both", "tora": True, "repulsion": True, "dave": {}},
        ],
    )
    prompt = PromptRow(prompt_id="p1", prompt="a red square", concept=None, rarity=None, counterfactual=None, source="")
    table = group_table(Variants(config), [prompt])
    assert table["group_id"].to_pylist() == ["69b49dd4674f2acb", "ff4adeee05d526b5", "835c54db72ffae0e"]
    assert table["group_seeds"][0].as_py() == [image_seed(11, "p1", 0), image_seed(11, "p1", 1)]
    default, apart = (
        group_table(Variants(configure(tora=tora)), [prompt])["group_id"][0] for tora in ({}, {"encoders": "apart"})
    )
    assert default != apart


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.integers(1, 40), arms=st.integers(1, 3), repeats=st.integers(1, 3), per_shard=st.integers(1, 20))
def test_shards_partition_the_groups(
    configure: Configure,
    tmp_path_factory: pytest.TempPathFactory,
    prompts: int,
    arms: int,
    repeats: int,
    per_shard: int,
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    config = configure(
        prompts={"path": write_prompts(folder, prompts)},
        arms=ARMS[:arms],
        group={"size": 1, "groups_per_prompt": repeats},
        output={"groups_per_shard": per_shard},
    )
    output = Storage.open(folder)
    counts = write_plan(config, output)
    assert count_plan(config) == counts
    shards = [read_shard(output, shard) for shard in range(counts.shards)]
    whole = pa.concat_tables(shards)
    assert whole.num_rows == counts.groups == prompts * arms * repeats
    assert [text for text, _ in groupby(whole["prompt"].to_pylist())] == [f"prompt {n}" for n in range(prompts)]
    for table in shards:  # whole prompts, so that arms can be compared within a file
        assert table.num_rows % (arms * repeats) == 0
        assert table.num_rows <= max(per_shard, arms * repeats)


def test_parts_and_chunks_leave_no_seam(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str) -> list[dict[str, Any]]:
        output = Storage.open(tmp_path / name)
        config = configure(prompts={"path": write_prompts(tmp_path, 23)}, output={"groups_per_shard": 2})
        counts = write_plan(config, output)
        return [row for shard in range(counts.shards) for row in read_shard(output, shard).to_pylist()]

    whole = write("one")
    monkeypatch.setattr(plan_files, "SHARDS_PER_PART", 5)
    monkeypatch.setattr(plan_buckets, "PROMPTS_PER_CHUNK", 6)
    assert write("many") == whole
    assert Storage.open(tmp_path / "many").list("plan") == [f"plan-{part:06d}.parquet" for part in range(3)]


def test_the_same_prompts_give_the_same_bytes(configure: Configure, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_plan(configure(), Storage.open(tmp_path / name))
    assert (tmp_path / "a/plan/plan-000000.parquet").read_bytes() == (
        tmp_path / "b/plan/plan-000000.parquet"
    ).read_bytes()


def test_bad_prompts_are_rows(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"fine\n\xff\nfine\n")
    config = configure(prompts={"path": str(tmp_path / "p.txt")})
    output = Storage.open(tmp_path / "out")
    counts = write_plan(config, output)
    assert (counts.prompts, counts.bad_prompts) == (1, 2)
    rows = pq.read_table(tmp_path / "out" / plan_files.FAILED_PROMPTS, schema=schema.FAILED).to_pylist()
    assert [(row["source"], row["error_type"], row["stage"]) for row in rows] == [
        (f"{tmp_path}/p.txt:2", "UndecodableText", "plan"),
        (f"{tmp_path}/p.txt:3", "RepeatedPrompt", "plan"),
    ]
    (tmp_path / "p.txt").write_bytes(b"fine\n")
    write_plan(config, output)
    assert not output.exists(plan_files.FAILED_PROMPTS)


def test_bad_prompts_planted_at_one_percent_are_all_found_again(configure: Configure, tmp_path: Path) -> None:
    bad = (b"", b"  ", b"\xff\xfe", b"nul \x00 inside", b"x" * 3000, b"prompt 1")
    lines = [b"prompt %d" % number for number in range(1, 3001)]
    planted = {number: bad[number // 100 % len(bad)] for number in range(50, 3000, 100)}
    for number, text in planted.items():
        lines[number] = text
    (tmp_path / "p.txt").write_bytes(b"\n".join(lines))
    config = configure(prompts={"path": str(tmp_path / "p.txt")})
    counts = write_plan(config, Storage.open(tmp_path / "out"))
    # An empty line of a text file is no prompt; every other planted line is a row.
    expected = {f"{tmp_path}/p.txt:{number + 1}" for number, text in planted.items() if text.strip()}
    rows = pq.read_table(tmp_path / "out" / plan_files.FAILED_PROMPTS)["source"].to_pylist()
    assert sorted(map(str, rows)) == sorted(expected)
    assert (counts.prompts, counts.bad_prompts) == (3000 - len(planted), len(expected))


def test_dropped_repeats_are_counted(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\na\nb\n")
    config = configure(prompts={"path": str(tmp_path / "p.txt"), "duplicates": "drop"})
    counts = count_plan(config)
    assert (counts.prompts, counts.bad_prompts, counts.dropped) == (2, 0, 1)


def test_no_usable_prompt_says_why(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": 1}\n[]\n')
    config = configure(prompts={"path": str(tmp_path / "p.jsonl")})
    for plan in (partial(write_plan, config, Storage.open(tmp_path / "out")), partial(count_plan, config)):
        with pytest.raises(UserError, match=r"p\.jsonl:1.*int, not text; .*p\.jsonl:2: the row cannot be read"):
            plan()


def test_a_plan_grows_by_what_is_new(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_files, "SHARDS_PER_PART", 4)
    output = Storage.open(tmp_path / "out")

    def config(prompts: int, groups: int) -> Any:
        given = {"path": write_prompts(tmp_path, prompts)}
        shape = {"size": 2, "groups_per_prompt": groups}
        return configure(prompts=given, group=shape, arms=ARMS[:2], output={"groups_per_shard": 4})

    first = write_plan(config(9, 1), output)
    assert list(first.shard_numbers()) == [0, 1, 2, 3, 4]
    files = {name: output.read_bytes(f"plan/{name}") for name in output.list("plan")}
    grown = write_plan(config(11, 2), output, first)
    assert (grown.prompts, grown.groups, grown.images) == (11, 44, 88)
    assert [(s.first, s.shards) for s in grown.segments] == [(0, 5), (8, 11)]
    assert {name: output.read_bytes(f"plan/{name}") for name in files} == files
    whole = pa.concat_tables(read_shard(output, shard) for shard in grown.shard_numbers())
    at_once = Storage.open(tmp_path / "at_once")
    direct = write_plan(config(11, 2), at_once)
    same = pa.concat_tables(read_shard(at_once, shard) for shard in direct.shard_numbers())
    columns = [name for name in schema.plan().names if name != "shard"]
    assert sorted(map(str, whole.select(columns).to_pylist())) == sorted(map(str, same.select(columns).to_pylist()))
    # Nothing new is nothing to plan, and less is refused; either leaves the plan as it is.
    assert write_plan(config(11, 2), output, grown) == grown
    with pytest.raises(UserError, match="24 of the 44 groups planned"):
        write_plan(config(10, 1), output, grown)
    assert len(output.list("plan")) == 5


def test_shards_are_sized_by_bytes(configure: Configure) -> None:
    large = configure(sampling={"width": 1024, "height": 1024}, output={"shard_mb": 256})
    assert groups_per_shard(large) == 42
    assert groups_per_shard(configure(sampling={"width": 64, "height": 64})) == MOST_GROUPS_PER_SHARD
    assert groups_per_shard(configure(sampling={"width": 8192, "height": 8192}, output={"shard_mb": 1})) == 1
    # A shard fills the denoising batches of each arm.
    batches = configure(arms=ARMS, group={"groups_per_batch": 8}, sampling={"width": 64, "height": 64})
    assert prompts_per_shard(batches) == 16


def test_a_crash_leaves_no_part(configure: Configure, tmp_path: Path) -> None:
    write_prompts(tmp_path, 3)
    (tmp_path / "z.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError):
        write_plan(
            configure(prompts={"path": [f"{tmp_path}/many.txt", f"{tmp_path}/z.parquet"]}),
            Storage.open(tmp_path / "out"),
        )
    assert list((tmp_path / "out").rglob("*.parquet*")) == []
