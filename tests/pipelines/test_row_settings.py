"""Rows of prompt files with settings of their own: what they change, what they may be, and that nothing else moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.seeds import image_seed
from pipelines.calibration.config import CalibrationConfig, Grid
from pipelines.dataset.storage import Storage
from pipelines.flows import calibrate
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.plan.survey import Survey
from pipelines.plan.variants import Variants
from pipelines.plan.write import count_plan, write_plan
from pipelines.prompts.carry import Carried
from pipelines.prompts.columns import SETTINGS
from pipelines.prompts.rows import Checker, PromptRow
from pipelines.prompts.settings import PLAIN
from tests.conftest import Configure
from tests.support.planned import ARMS, Planner, Rows, groups

OF_A_GROUP = {
    "negative_prompt": "blurry",
    "steps": 7,
    "sigmas": [1.0, 0.5],
    "guidance_scale": 2.5,
    "width": 512,
    "height": 768,
    "frames": 5,
    "max_sequence_length": 77,
}
"""Settings with a column in every row -> a value that is not the run's."""
OF_ARMS: dict[str, tuple[str, Any]] = {
    "sigma": ("tora", 1.7),
    "strength": ("repulsion", 0.4),
    "vary_words": ("repulsion", "dot"),
    "keep_words": ("repulsion", "a, DOT"),
}


def test_every_setting_of_a_row_reaches_its_groups_and_no_others(plan: Planner) -> None:
    alone = groups(plan([{"prompt": "plain"}]))
    for name, value in [*OF_A_GROUP.items(), *((name, value) for name, (_, value) in OF_ARMS.items())]:
        both = plan([{"prompt": "plain"}, {"prompt": "a dot", name: value}])
        own = groups(both, "a dot")
        assert groups(both, "plain") == alone
        if name in OF_A_GROUP:
            assert [row[name] for row in own] == [value] * 2
            assert alone[0][name] != value
        else:
            kind = OF_ARMS[name][0]
            assert [row[kind] and row[kind][name] for row in own] == [None, value]
    assert {*OF_A_GROUP, *OF_ARMS, "aspect_ratio", "seed", "images"} == {*SETTINGS}


FEW = [{"name": "stock"}, {"name": "few", "sampling": {"steps": 2, "guidance_scale": 1.0}}]


def test_an_arm_says_for_every_row_what_it_says_and_rows_say_the_rest(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot"}, {"prompt": "a star", "steps": 9, "negative_prompt": "blurry"}]
    shards = plan(rows, arms=FEW, sampling={"steps": 4, "guidance_scale": 3.0})
    made = [(row["arm"], row["steps"], row["guidance_scale"], row["negative_prompt"]) for row in groups(shards)]
    assert sorted(made) == [
        ("few", 2, 1.0, ""),
        ("few", 2, 1.0, "blurry"),
        ("stock", 4, 3.0, ""),
        ("stock", 9, 3.0, "blurry"),
    ]
    assert [group.sampling.steps for shard in shards for group in groups_of(shard)] == [4, 2, 9, 2]
    seeds = {(row["prompt"], *row["group_seeds"]) for row in groups(shards)}
    assert len(seeds) == 2  # arms share them
    survey = Survey(plan.config)
    count_plan(plan.config, survey)
    assert survey.work == plan.config.group.size * 1024 * 1024 * (4 * 2 + 2 + 9 * 2 + 2)
    ids = {row["group_id"] for row in groups(shards)}
    before = groups(plan(rows, arms=[{"name": "stock"}, {"name": "few"}], sampling={"steps": 4, "guidance_scale": 3.0}))
    assert {row["group_id"] for row in before if row["arm"] == "stock"} == ids & {row["group_id"] for row in before}


def test_a_row_cannot_say_what_every_arm_says(plan: Planner) -> None:
    plan([{"prompt": "a dot", "steps": 9}, {"prompt": "a star"}], arms=FEW[1:])
    assert plan.failures() == ["1: steps = 9 has no effect: every arm has a setting of its own"]


def test_ids_change_with_the_settings_and_with_nothing_else(plan: Planner) -> None:
    def ids(**own: Any) -> list[str]:
        return [row["group_id"] for row in groups(plan([{"prompt": "a dot", "prompt_id": "p", **own}]))]

    plain = ids()
    same = {"steps": plan.config.sampling.steps, "width": None, "negative_prompt": " ", "sigma": float("nan")}
    assert ids(**same) == plain  # spelled out, or not said
    changed = [ids(**{name: value})[1] for name, value in OF_A_GROUP.items()] + [ids(seed=5)[1]]
    changed += [ids(**{name: value})[1] for name, (_, value) in OF_ARMS.items()]
    assert len({plain[1], *changed}) == 1 + len(changed)
    assert ids(sigma=1.7)[0] == plain[0]  # of the arm where TORA is off


def test_one_text_may_be_there_with_several_settings_which_share_their_noise(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot"}, {"prompt": "a dot", "steps": 7}, {"prompt": "a dot", "steps": 7, "images": 9}]
    planned = groups(plan(rows))
    assert len({row["prompt_id"] for row in planned}) == 2
    assert {tuple(row["group_seeds"]) for row in planned} == {tuple(planned[0]["group_seeds"])}
    assert plan.failures() == [
        "3: this prompt was there before; prompts.duplicates says what then happens"
    ]  # more of the same
    there = {row["steps"]: row["prompt_id"] for row in planned}
    again = groups(plan([*rows[1::-1]], prompts={"duplicates": "keep"}))
    assert {row["steps"]: row["prompt_id"] for row in again} == there  # whatever their order


def test_a_seed_is_that_of_the_first_image(plan: Planner) -> None:
    (one,) = groups(plan([{"prompt": "a dot", "seed": 2**63 - 1}], group={"size": 1}, arms=ARMS[:1]))
    assert one["group_seeds"] == [2**63 - 1]
    rows = [{"prompt": "a dot", "seed": 5}, {"prompt": "a star", "seed": 5}]
    shape = {"size": 2, "groups_per_prompt": 2}
    planned = groups(plan(rows, group=shape))
    assert [row["group_seeds"] for row in planned] == 2 * [
        *2 * [[5, image_seed(5, "", 1)]],
        *2 * [[image_seed(5, "", 2), image_seed(5, "", 3)]],
    ]


def test_images_are_full_groups_and_a_smaller_one(plan: Planner) -> None:
    rows: Rows = [{"prompt": "a dot", "images": 5}, {"prompt": "a star", "images": 1}, {"prompt": "a sun"}]
    planned = plan(rows, arms=ARMS[:1], group={"size": 2, "groups_per_prompt": 3})
    sizes = {word: [len(row["group_seeds"]) for row in groups(planned, f"a {word}")] for word in ("dot", "star", "sun")}
    assert sizes == {"dot": [2, 2, 1], "star": [1], "sun": [2, 2, 2]}
    assert (plan.counts.groups, plan.counts.images) == (7, 12)
    seeds = [seed for row in groups(planned, "a dot") for seed in row["group_seeds"]]
    name = groups(planned, "a dot")[0]["prompt_id"]
    assert seeds == [image_seed(0, name, index) for index in range(5)]


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("16:9", (1376, 768)),
        ("1:1", (1024, 1024)),
        ("9 : 16", (768, 1376)),
        (1.5, (1248, 832)),
        ("2.39:1", (1568, 672)),
    ],
)
def test_an_aspect_ratio_keeps_the_pixels(plan: Planner, ratio: Any, size: tuple[int, int]) -> None:
    (row,) = groups(plan([{"prompt": "a dot", "aspect_ratio": ratio}], arms=ARMS[:1]))
    assert (row["width"], row["height"]) == size
    assert abs(size[0] * size[1] / 1024**2 - 1) < 0.02


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ({"steps": 0}, "steps = 0 is out of range: needs 1 to 1000"),  # as in a config
        ({"steps": 2.5}, "steps = 2.5: must be a whole number"),
        ({"steps": "many"}, "steps = 'many': must be a whole number"),
        ({"steps": True}, "steps = True: must be a whole number"),
        ({"steps": [4]}, "steps = [4]: must be a whole number"),
        ({"steps": 10**400}, f"steps = {10**400} is out of range"),
        ({"guidance_scale": "high"}, "guidance_scale = 'high': must be a number"),
        ({"guidance_scale": -1}, "guidance_scale = -1.0 is out of range: needs >= 0"),
        ({"guidance_scale": 10**400}, "must be a number"),
        ({"seed": -1}, "seed = -1 is out of range: needs 0 to 2**63 - 1"),
        ({"seed": 1e17}, "seed = 1e+17: must be a whole number"),  # which one it was nobody knows
        ({"images": 0}, "images = 0 is out of range: needs 1 to 10,000"),
        ({"width": 8192, "height": 8192, "images": 99}, "8192 x 8192 could exceed 2 GiB"),
        ({"aspect_ratio": "16x9"}, "aspect_ratio = '16x9': must be two numbers such as '16:9'"),
        ({"aspect_ratio": "1:99"}, "needs 1:32 to 32:1"),
        ({"aspect_ratio": "1:2", "height": 512}, "aspect_ratio = '1:2': give it or height, not both"),
        ({"sigma": 99}, "sigma = 99.0 is out of range: needs 0.1 to 10"),
        ({"strength": -1}, "strength = -1.0 is out of range"),
        ({"negative_prompt": ["blurry"]}, "the negative_prompt is list, not text"),
        ({"negative_prompt": "a\0b"}, "the negative_prompt has control characters"),
    ],
)
def test_a_bad_value_costs_its_row(plan: Planner, own: dict[str, Any], error: str) -> None:
    planned = plan([{"prompt": "a dot", **own}, {"prompt": "a star"}, {"prompt": "a dot"}])
    assert {row["prompt"] for row in groups(planned)} == {"a star", "a dot"}  # the bad row is no repeat of the last
    (failure,) = plan.failures()
    assert failure.startswith("1: ")
    assert error in failure


def test_a_setting_that_would_act_nowhere_costs_its_row(plan: Planner) -> None:
    plan([{"prompt": "a dot", "sigma": 1.2}, {"prompt": "a star"}], arms=[{"name": "r", "repulsion": True}])
    assert plan.failures() == ["1: sigma = 1.2 has no effect: tora is on in no arm"]
    plan([{"prompt": "a dot", "strength": 1.2}, {"prompt": "a star"}], repulsion={"eta": 2.0})
    assert plan.failures() == ["1: strength = 1.2 has no effect: repulsion.eta goes before it"]


def test_columns_of_other_names_and_columns_that_are_left_alone(plan: Planner) -> None:
    rows = [{"prompt": "a dot", "cfg": 2, "seed": 7}, {"prompt": "a star", "cfg": -2}]
    shards = plan(rows, columns={"guidance_scale": "cfg", "seed": "-"})
    (row, _) = groups(shards)
    assert row["guidance_scale"] == 2.0
    assert row["group_seeds"][0] != 7
    assert plan.failures() == [
        "2: guidance_scale = -2.0 is out of range: needs >= 0 (the column 'cfg' is prompts.columns.guidance_scale)"
    ]


def test_files_of_text_and_tables_with_gaps_say_the_same(tmp_path: Path, configure: Configure) -> None:
    (tmp_path / "p.csv").write_text("prompt,steps,guidance_scale,seed\na dot,7.0,2,\na star,,,5\n")
    floats = {"steps": [7.0, float("nan")], "guidance_scale": [2.0, None], "seed": [None, 5.0]}
    pq.write_table(pa.table({"prompt": ["a dot", "a star"], **floats}), tmp_path / "p.parquet")
    planned = []
    for name in ("p.csv", "p.parquet"):
        output = Storage.open(tmp_path / name.replace(".", "-"))
        write_plan(configure(prompts={"path": str(tmp_path / name)}), output)
        planned.append(read_shard(output, 0).to_pylist())
    assert planned[0] == planned[1]
    assert {(row["steps"], row["guidance_scale"]) for row in planned[0]} == {(7, 2.0), (28, 4.5)}


def test_settings_come_from_inside_of_columns_and_from_names_of_folders(tmp_path: Path, configure: Configure) -> None:
    meta = [{"prompt": "a dot", "meta": {"cfg": 2.0}}, {"prompt": "a star", "meta": {}}]
    folder = tmp_path / "in" / "steps=4"
    folder.mkdir(parents=True)
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in meta))
    pq.write_table(pa.Table.from_pylist(meta), tmp_path / "p.parquet")
    for path, steps in ((tmp_path / "in", 4), (tmp_path / "p.parquet", 28)):
        output = Storage.open(tmp_path / f"out{steps}")
        prompts = {"path": str(path), "columns": {"guidance_scale": "meta.cfg"}}
        config = configure(prompts=prompts)
        survey = Survey(config)
        write_plan(config, output, survey=survey)
        rows = read_shard(output, 0).to_pylist()
        assert [(row["prompt"], row["steps"], row["guidance_scale"]) for row in rows] == [
            ("a dot", steps, 2.0),
            ("a star", steps, 4.5),
        ]
        assert survey.wanted.settings == (["steps", "guidance_scale"] if steps == 4 else ["guidance_scale"])
        assert survey.wanted.unused == []


def test_what_is_written_for_a_row_has_its_settings_and_what_goes_along(tmp_path: Path, configure: Configure) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a dot", "steps": 4, "label": 3}\n{"prompt": "a star", "label": 4}\n')
    config = configure(prompts={"path": str(path)})
    label = Carried(name="label", path=("label",), kind=pa.int64())
    check = Checker(config.prompts, Variants(config), [label])
    for values, steps in (({"prompt": "a dot", "steps": 4, "label": 3}, 4), ({"prompt": "a star", "label": 4}, None)):
        row = check.row("f:1", values)
        assert isinstance(row, PromptRow)
        (answer,) = check.answers(row, ["a small one"])  # the same text twice, with other settings
        assert isinstance(answer, PromptRow)
        assert (dict(answer.settings.own).get("steps"), answer.carried) == (steps, (values["label"],))
        assert (answer.noise == "") == (steps is None)


def test_a_calibration_says_that_settings_of_rows_do_not_act(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a dot", "steps": 4, "of": {"cfg": 1}}\n{"prompt": "a star", "sigma": 4}\n')
    prompts = {
        "path": str(path),
        "columns": {"guidance_scale": "of.cfg"},
        "expand": {"base_url": "http://127.0.0.1:1", "model": "m"},
    }
    config = CalibrationConfig(run=configure(prompts=prompts), tables={}, grid=Grid())
    assert [row.settings for row in calibrate._prompts(config)] == [PLAIN, PLAIN]
    assert capsys.readouterr().err == (
        "warning: settings of rows do not act in a calibration: steps, guidance_scale, sigma\n"
        "warning: a calibration draws prompts as they are: prompts.expand does not act in it\n"
    )
