"""Runs with quotas: N accepted, different images of each concept, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import export
from models.embedded import WEIGHTS
from pipelines import console
from pipelines.config.fingerprint import fingerprint
from pipelines.dataset.progress_json import ProgressFile, Quotas
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import dry_run, run_record
from pipelines.flows.fill import fill
from pipelines.flows.finish import finish
from pipelines.prompts import pictures
from pipelines.prompts.columns import Columns
from pipelines.quota import shard as shards
from pipelines.quota.shard import KEY, OVER_QUOTA, Verdicts, settle
from tests.support.job import files_of, rows
from tests.support.killing import dies_at_write
from tests.support.quota_world import Concept, World, configured, filled, picture

T = TypeVar("T")
R = TypeVar("R")

PROMPTS = {"easy": ["an easy thing", "some easy thing"], "poor": ["a poor thing"], "never": ["a thing that never is"]}
WORLD = {
    "easy": Concept(modes=200),
    "poor": Concept(modes=6),
    "never": Concept(passes={"base": 0.0, "tora": 0.0}),
}


def test_each_quota_is_met_exactly_or_given_up(tmp_path: Path) -> None:
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12})
    filled(config, WORLD)
    out = tmp_path / "out"
    assert Counter(concept for (concept,) in rows(out / "data", "concept")) == {"easy": 9, "poor": 6}
    groups = Counter(concept for (concept,) in rows(out / "plan", "concept"))
    assert groups["poor"] == groups["never"] == 12
    assert groups["easy"] < 6
    accepted = {image for (image,) in rows(out / "data", "image_id")}
    for reason, repeated in rows(out / "rejected", "drop_reason, duplicate_of"):
        assert reason in ("margin", "repeat", "over quota")
        assert (repeated in accepted) == (reason == "repeat")
    made = rows(out / "data", "group_id, index_in_group") + rows(out / "rejected", "group_id, index_in_group")
    assert len(made) == len({*made}) == 4 * groups.total()


def test_pictures_that_prompts_edit_are_decoded_once_and_not_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{at}.png": picture(at) for at in range(3)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    decoded: list[bytes] = []
    monkeypatch.setattr(pictures, "decoded", decoded.append)
    config = configured(tmp_path, {}, {"accepted": 12, "per": "prompt", "most_groups": 8})
    csv = Path(config.prompts.paths[0])
    csv.write_text("prompt,picture\n" + "".join(f"edit {name},{name}\n" for name in files))
    config = replace(config, prompts=replace(config.prompts, columns=Columns(source_image="picture")))
    rounds = len(filled(config, {}).told)
    assert rounds > 1
    assert sorted(decoded) == sorted(files.values())


def test_a_second_call_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json neither, which says with which versions the images were made."""
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12})
    filled(config, WORLD)
    before, record = files_of(tmp_path / "out"), (tmp_path / "out" / "run.json").read_bytes()
    monkeypatch.setattr(run_record, "version", lambda _: "another")
    assert filled(config, WORLD).images == 0
    assert files_of(tmp_path / "out") == before
    assert (tmp_path / "out" / "run.json").read_bytes() == record


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("kills", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 10))])
def test_a_run_that_is_killed_ends_with_the_bytes_of_an_undisturbed_one(kills: int, tmp_path: Path) -> None:
    """Five kills each, at any write: of a plan, a shard, a settled shard or a record; then a larger quota, likewise."""
    prompts = {**PROMPTS, "some": ["a thing that fails", "some thing"]}
    quota = {"accepted": 9, "most_groups": 12}
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    rng = random.Random(kills)
    for folder in (disturbed, undisturbed):
        folder.mkdir()
    for more in ({}, {"accepted": 14, "most_groups": 16}):
        wanted = configured(undisturbed, prompts, {**quota, **more})
        filled(wanted, WORLD)
        config = configured(disturbed, prompts, {**quota, **more})
        for _ in range(5):
            dies_at_write(partial(filled, config, WORLD), rng.randrange(60))
        filled(config, WORLD)
        assert files_of(disturbed / "out") == files_of(undisturbed / "out")


@pytest.mark.parametrize(
    ("lost", "found"),
    [("an easy thing", "number 2 is 'a poor thing' now"), ("a thing that never is", "number 4 is not there any more")],
)
def test_prompts_that_change_between_two_rounds_end_the_job_which_goes_on_when_they_are_back(
    lost: str, found: str, tmp_path: Path
) -> None:
    """Rows that cannot be used any more, such as those whose pictures are gone, would give their groups to others, and
    the last ones would be asked for without end."""
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    for folder in (disturbed, undisturbed):
        folder.mkdir()
    config = configured(disturbed, PROMPTS, {"accepted": 9, "most_groups": 12})
    prompts = disturbed / "prompts.csv"
    whole = prompts.read_text()

    class Meddled(World):
        def map_shards(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
            prompts.write_text("".join(line for line in whole.splitlines(keepends=True) if not line.startswith(lost)))
            return super().map_shards(function, items)

    with pytest.raises(UserError, match=f"have changed while the run goes on: of the usable prompts, {found}"):
        fill(config, Storage.open(config.run.output), Meddled(config, WORLD))
    with pytest.raises(UserError, match="or which cannot be used any more, as a picture of it is gone"):
        filled(config, WORLD)
    prompts.write_text(whole)
    filled(config, WORLD)
    filled(configured(undisturbed, PROMPTS, {"accepted": 9, "most_groups": 12}), WORLD)
    assert files_of(disturbed / "out") == files_of(undisturbed / "out")


def flipped(output: Storage, shard: int) -> Verdicts:
    """Accepts what was over the quota, and the other way round."""
    made = shards.read(output, shard)
    reasons = pa.array([OVER_QUOTA if reason is None else None for reason in made.images["drop_reason"].to_pylist()])
    said = made.images.select(KEY).append_column("drop_reason", reasons)
    said = said.append_column("duplicate_of", pa.nulls(len(reasons), pa.string()))
    return Verdicts(shard=shard, rows=said.filter(pa.array(made.passed_N)))


def test_a_shard_that_is_killed_while_it_is_settled_loses_no_image(tmp_path: Path) -> None:
    """At each of its writes, with images that move both ways: what the judge said is still known, and settling it again
    ends with the same bytes."""
    quota = {"accepted": 5, "most_groups": 40, "distinct_similarity": 0.9999}
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, quota), {"easy": Concept(modes=9999)})
    made = shards.read(Storage.open(tmp_path / "out"), 0)
    assert {*made.images["drop_reason"].to_pylist()} == {None, "over quota"}
    undisturbed = shutil.copytree(tmp_path / "out", tmp_path / "undisturbed")
    settle(Storage.open(undisturbed), flipped(Storage.open(undisturbed), 0))
    for write in range(10):
        disturbed = shutil.copytree(tmp_path / "out", tmp_path / f"killed{write}")
        output = Storage.open(disturbed)
        verdicts = flipped(output, 0)
        ended = dies_at_write(partial(settle, output, verdicts), write)
        now = shards.read(output, 0)
        assert now.images["image_id"].to_pylist() == made.images["image_id"].to_pylist()
        assert now.passed_N.tolist() == made.passed_N.tolist()
        settle(output, verdicts)
        assert files_of(disturbed) == files_of(undisturbed)
        assert shards.read(output, 0).settled
        if ended:
            break
    assert write >= 3


def test_a_larger_quota_goes_on_with_what_is_there(tmp_path: Path) -> None:
    """Images that were over the quota are taken first; nothing that was made is made again, or changes its pixels."""
    small, large = ({"accepted": count, "most_groups": 40} for count in (5, 50))
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, small), WORLD)
    out = tmp_path / "out"
    before = {*rows(out / "data", "image_id")}
    over = {*rows(out / "rejected", "image_id")}
    assert over
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, large), WORLD)
    after = {*rows(out / "data", "image_id")}
    assert (len(before), len(after)) == (5, 50)
    assert before < after
    assert over & after
    assert fingerprint(configured(tmp_path, PROMPTS, small)) == fingerprint(configured(tmp_path, PROMPTS, large))
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, small), WORLD)
    assert {*rows(out / "data", "image_id")} == before


def test_failed_groups_that_are_made_again_count_where_they_were_planned(tmp_path: Path) -> None:
    config = configured(tmp_path, {"some": ["a thing that fails", "some thing"]}, {"accepted": 30})
    filled(config, {"some": Concept(modes=500)})
    out = tmp_path / "out"
    failed = rows(out / "failed", "group_id")
    assert failed
    assert len(rows(out / "data", "image_id")) == 30
    again = filled(config, {"some": Concept(modes=500)}, retry_failed=True)
    assert again.images == 4 * len(failed)
    assert not list((out / "failed").iterdir())
    assert len(rows(out / "data", "image_id")) == 30
    assert {prompt for (prompt,) in rows(out / "data", "prompt")} == {"a thing that fails", "some thing"}


def test_further_prompts_extend_a_run_and_lost_ones_are_named(tmp_path: Path) -> None:
    quota = {"accepted": 6}
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, quota), WORLD)
    out = tmp_path / "out"
    before = rows(out / "data", "image_id")
    filled(configured(tmp_path, {"new": ["a new thing"], "easy": PROMPTS["easy"]}, quota), WORLD)
    assert Counter(concept for (concept,) in rows(out / "data", "concept")) == {"easy": 6, "new": 6}
    assert {*before} < {*rows(out / "data", "image_id")}
    with pytest.raises(UserError, match=r"groups of the prompt '\w+', which the prompt files do not have"):
        filled(configured(tmp_path, {"new": ["a new thing"]}, quota), WORLD)


def test_a_prompt_may_have_a_quota_of_its_own(tmp_path: Path) -> None:
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, {"accepted": 5, "per": "prompt"}), WORLD)
    found = Counter(prompt for (prompt,) in rows(tmp_path / "out" / "data", "prompt"))
    assert found == dict.fromkeys(PROMPTS["easy"], 5)


def test_no_two_groups_of_a_prompt_have_the_same_seeds_whatever_their_arms(tmp_path: Path) -> None:
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, {"accepted": 60}), WORLD)
    found = rows(tmp_path / "out" / "plan", "arm, prompt, group_seeds")
    assert {arm for arm, *_ in found} == {"base", "tora"}
    for prompt in PROMPTS["easy"]:
        seeds = [seed for _, of, group in found if of == prompt for seed in group]
        assert len(seeds) == len({*seeds})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quota": {"accepted": 0}}, "accepted = 0 is out of range"),
        ({"quota": {"accepted": 3, "candidates": ["toar"]}}, r"candidates = \['toar'\].*\(there: base, tora\)"),
        ({"quota": {"accepted": 3, "distinct_similarity": 1.0}}, "distinct_similarity = 1.0"),
        (
            {"quota": {"accepted": 3}, "arms": [{"name": "a", "group_size": 5}]},
            "a.group_size = 5 .* at most group.size = 4",
        ),
        ({"quota": {"accepted": 3}, "group": {"groups_per_prompt": 2}}, r"groups_per_prompt = 2 .*: \[quota\] decides"),
    ],
)
def test_quotas_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configured(tmp_path, PROMPTS, **{"quota": {}, **changes})


def test_a_row_that_asks_for_images_of_its_own_costs_itself(tmp_path: Path) -> None:
    config = configured(tmp_path, {"easy": ["an easy thing"]}, {"accepted": 4})
    (tmp_path / "prompts.csv").write_text("prompt,concept,images\nan easy thing,easy,\nanother,easy,8\n")
    filled(config, WORLD)
    ((reason,),) = rows(tmp_path / "out" / "failed", "error")
    assert "images = 8: in a run with [quota]" in reason


def test_the_certificate_says_what_came_of_each_quota_and_why(tmp_path: Path) -> None:
    config = configured(tmp_path, {**PROMPTS, "some": ["a thing that fails"]}, {"accepted": 9, "most_groups": 12})
    filled(config, WORLD)
    summary = finish(Storage.open(tmp_path / "out"))
    assert summary.complete
    assert summary.quotas
    assert summary.quotas == Quotas(quotas=4, met=1, asked=36, accepted=15, made=summary.quotas.made)
    assert "quotas: 1 of 4 met, 15 of 36 images accepted" in console.table(summary)
    out = tmp_path / "out"
    files = json.loads((out / "manifest.json").read_bytes())["files"]
    assert "certificate.parquet" in {entry["path"] for entry in files}
    assert "1 of 4 quotas are met" in (out / "README.md").read_text()
    found = {row["quota"]: row for row in pq.read_table(out / "certificate.parquet").to_pylist()}
    images = Counter(concept for folder in ("data", "rejected") for (concept,) in rows(out / folder, "concept"))
    for concept, row in found.items():
        assert row["made"] == images[concept] == sum(arm["made"] for arm in row["arms"])
        assert row["passed"] == row["accepted"] + row["repeats"] + row["over_quota"]
        assert row["accepted"] == sum(arm["accepted"] for arm in row["arms"])
        assert row["acceptance"]["low"] <= row["acceptance"]["value"] <= row["acceptance"]["high"]
        stored = {one[0] for one in rows(out / "data", "image_id, concept") if one[1] == concept}
        assert {one["image_id"] for one in row["examples"]} <= stored
        assert len(row["examples"]) == min(row["accepted"], 6)
    assert (found["easy"]["state"], found["easy"]["reason"]) == ("met", None)
    assert found["easy"]["modes_unseen"]["high"] >= 200 - 9
    assert found["poor"]["reason"].startswith("new ones repeat old ones: 42 of 48 valid images repeat the 6 accepted")
    assert found["poor"]["modes_unseen"]["high"] < 1.5
    assert found["never"]["reason"].startswith("0 of 48 images passed the judge")
    assert found["some"]["reason"] == "all 12 groups failed: see failed/"
    page = (out / "certificate.html").read_text()
    assert "<b>1 of 4 quotas met</b>; <b>3 given up</b>" in page
    assert page.count("<img") == 12
    assert page.index("never") < page.index(">easy<")


def test_an_export_has_the_certificate_and_its_card_names_what_was_given_up(tmp_path: Path) -> None:
    never = {f"never {number}": [f"a thing that never is {number}"] for number in range(11)}
    config = configured(tmp_path, {"easy": PROMPTS["easy"], **never}, {"accepted": 4, "most_groups": 1})
    filled(config, {"easy": WORLD["easy"], **dict.fromkeys(never, WORLD["never"])})
    finish(Storage.open(tmp_path / "out"))
    to = tmp_path / "tars"
    assert export.main(["--dataset", str(tmp_path / "out"), "--to", str(to), "--format", "webdataset"]) == 0
    assert (to / "certificate.parquet").read_bytes() == (tmp_path / "out/certificate.parquet").read_bytes()
    assert "certificate.parquet" in {file["path"] for file in json.loads((to / "manifest.json").read_bytes())["files"]}
    for card in (to / "README.md", tmp_path / "out/README.md"):
        text = card.read_text()
        assert "1 of 12 quotas are met" in text
        assert text.count("images passed the judge") == 10  # the page and the file have them all
        assert "| `never 0` | 0 | 4 | 4 | 0 of 4 images passed the judge" in text
        assert "1 more was given up" in text
    assert "certificate.html" not in (to / "README.md").read_text()


def test_the_certificate_of_a_run_that_goes_on_is_gone_until_it_ends(tmp_path: Path) -> None:
    small, large = ({"accepted": count, "most_groups": 40} for count in (5, 50))
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, small), WORLD)
    config = configured(tmp_path, {"easy": PROMPTS["easy"]}, large)
    assert not dies_at_write(partial(filled, config, WORLD), 20)
    assert not (tmp_path / "out" / "certificate.parquet").exists()
    filled(config, WORLD)
    assert pq.read_table(tmp_path / "out" / "certificate.parquet")["asked"].to_pylist() == [50]


def test_a_dry_run_says_what_quotas_cost_at_several_rates_and_at_that_of_the_run_so_far(tmp_path: Path) -> None:
    models = {
        "model": {"path": str(WEIGHTS / "pipeline"), "dtype": "float32"},
        "scoring": {"model": f"local-dir:{WEIGHTS / 'clip'}"},
    }
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12}, **models)
    said = dry_run.describe(config).splitlines()
    assert "quotas   3 of 9 accepted images, in groups of 4" in said
    assert [line.partition(" images of ")[0] for line in said if "accepted" in line][1:] == [
        "50%      accepted: 60",
        "20%      accepted: 144",
        "5%       accepted, given up before they are met: 144",
    ]
    assert not any(line.startswith("groups") for line in said)
    filled(config, WORLD)
    assert re.search(r"^\d+% +accepted, as in the run so far", dry_run.describe(config), re.MULTILINE)


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


def test_progress_says_how_far_quotas_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12})
    world = filled(config, WORLD)
    assert world.told[0] is None
    first = world.told[1]
    assert first
    assert (first.quotas, first.asked) == (3, 27)
    assert 0 < first.made < world.images
    assert re.search(r"after round \d: 1 of 3 quotas met, 15 of 27 images accepted", capsys.readouterr().err)
    output = Storage.open(tmp_path / "out")
    file = ProgressFile(output, images=10, done=0, workers={})
    with file.session():
        file.expect(20, first)
    written = json.loads((tmp_path / "out" / "progress.json").read_bytes())
    assert (written["images"], written["quotas"]["asked"]) == (20, 27)
