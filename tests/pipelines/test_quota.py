"""Runs with quotas: N accepted, different images of each concept, whatever happens on the way."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from pipelines.config.fingerprint import fingerprint
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import run_record
from pipelines.flows.fill import fill
from pipelines.prompts import pictures
from pipelines.prompts.columns import Columns
from pipelines.quota import shard as shards
from pipelines.quota.shard import KEY, OVER_QUOTA, Verdicts, settle
from tests.support.job import files_of, rows
from tests.support.killing import dies_at_write
from tests.support.quota_world import PROMPTS, WORLD, Concept, World, configured, filled, picture

T = TypeVar("T")
R = TypeVar("R")


pytestmark = pytest.mark.usefixtures("no_waiting_for_disks")


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
