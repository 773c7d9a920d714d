"""A calibration in stages: what each tries beside the choice of the one before, and what it says, without a model."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from pipelines.calibration import chosen
from pipelines.calibration.config import CalibrationConfig, build
from pipelines.calibration.draw import Maker, Planned
from pipelines.calibration.results import GroupResult, find, write
from pipelines.calibration.stages import STOCK, Setting
from pipelines.config.load import build as build_run
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import calibrate

DEEP = [
    {"tora": {"blocks": [[0, 1], [0.5, 1]], "sigma": [2, 3]}},
    {"repulsion": {"blocks": [[0, 0.5], [0.5, 1]]}},
    {"tora": {"sigma": [4]}, "prefer": "match"},
]


def configured(tmp_path: Path, **calibration: Any) -> CalibrationConfig:
    (tmp_path / "prompts.txt").write_text("".join(f"a {word} star\n" for word in ("red", "green", "blue", "pink")))
    tables = {
        "run": {"output": str(tmp_path / "out")},
        "prompts": {"path": str(tmp_path / "prompts.txt")},
        "model": {"path": "models/embedded/weights/pipeline"},
        "scoring": {"model": "local-dir:models/embedded/weights/clip"},
        "tora": {"sigma": 2.0, "blocks": [0.0, 1.0]},
        "repulsion": {"strength": 0.2, "blocks": [0.0, 1.0]},
    }
    return build({**tables, "calibration": calibration}, file="run.toml")


def tora_of(setting: Setting) -> ToraConfig:
    return next(one for one in setting.acting if isinstance(one, ToraConfig))


def test_a_stage_tries_every_combination_and_none(tmp_path: Path) -> None:
    stock, *others = configured(tmp_path, stages=DEEP).settings()
    assert stock == STOCK
    assert [one.name for one in others] == [
        f"tora.blocks {blocks}, sigma {sigma}" for blocks in ("0-1", "0.5-1") for sigma in (2, 3)
    ]
    tora = tora_of(others[-1])
    assert (tora.blocks, tora.sigma, tora.angle) == ((0.5, 1.0), 3.0, 1.0)


def test_the_next_stage_begins_with_what_was_chosen(tmp_path: Path) -> None:
    config = configured(tmp_path, stages=DEEP)
    first = config.settings()[-1]
    second = config.settings(1, first)
    assert second[0] == first
    assert {one.acting[0] for one in second} == {*first.acting}
    assert [one.name.partition(", repulsion.blocks ")[2] for one in second] == ["", "0-0.5", "0.5-1"]
    third = config.settings(2, second[1])
    assert [one.sigma for one in third] == [1.0, 3.0, 4.0], "without TORA, what was chosen, and what is new"
    assert {one.acting[-1] for one in third} == {second[1].acting[-1]}
    assert {tora_of(one).blocks for one in third[1:]} == {(0.5, 1.0)}
    assert [stage.prefer for stage in config.stages] == ["diversity", "diversity", "match"]


def test_a_look_for_depth_is_not_dearer_than_the_grid(tmp_path: Path) -> None:
    grid, deep = configured(tmp_path), configured(tmp_path, depth=True)
    seen, beside = {STOCK}, STOCK
    for number in range(len(deep.stages)):
        settings = deep.settings(number, beside)
        assert beside in settings
        seen |= {*settings}
        beside = settings[-1]
    assert len(seen) <= len(grid.settings()) + 1
    assert {(0.0, 1.0), (0.5, 1.0), (0.625, 1.0)} <= {tora_of(one).blocks for one in deep.settings()[1:]}
    assert (beside.sigma, beside.strength) == (5.0, 0.6)


def test_the_largest_sigma_that_is_tried_by_itself_is_one_that_tora_takes(tmp_path: Path) -> None:
    tables = dict(configured(tmp_path).tables)
    config = build({**tables, "tora": {"sigma": 6.0}}, file="run.toml")
    assert {one.sigma for one in config.settings()} == {1.0, 6.0, 10.0}


def test_a_strength_that_is_tried_is_not_overridden_by_the_runs_eta(tmp_path: Path) -> None:
    tables = dict(configured(tmp_path).tables)
    tables["repulsion"] = {"eta": 3.0}
    tried: list[dict[str, Any]] = [
        {"stages": [{"repulsion": {"strength": [0.3]}}]},
        {"strengths": [0.3], "sigmas": [1]},
    ]
    for calibration in tried:
        (repulsion,) = build({**tables, "calibration": calibration}, file="run.toml").settings()[-1].acting
        assert isinstance(repulsion, RepulsionConfig)
        assert (repulsion.strength, repulsion.eta) == (0.3, 0.0)


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (
            {"stages": [{"tora": {"block": [[0, 1]]}}]},
            r"stages\[0\].tora\]: unknown key .block.; .* .blocks.",
        ),
        ({"stages": [{"tora": {"blocks": [0.5, 1]}}]}, r"stages\[0\].tora.blocks = 0.5: must be an array of 2 values"),
        ({"stages": [{"tora": {"blocks": [[1, 0]]}}]}, r"blocks = \(1.0, 0.0\) is out of range"),
        ({"stages": [{"tora": {"sigma": 2}}]}, r"stages\[0\].tora.sigma = 2: must be an array of values"),
        ({"stages": [{"tora": {"sigma": []}}]}, r"tora.sigma = \[\]: must be an array of values"),
        ({"stages": [{"tora": True}]}, r"stages\[0\].tora = true: must be a table"),
        ({"stages": [{"toro": {}}]}, r"unknown key 'toro'; did you mean 'tora'"),
        ({"stages": [{}]}, r"stages\[0\] = {}: must be a table that names interventions"),
        ({"stages": []}, r"stages = \[\]: must be an array of tables"),
        ({"stages": [{"tora": {}, "prefer": "both"}]}, r"stages\[0\].prefer = 'both': must be one of"),
        ({"stages": DEEP, "sigmas": [2]}, "sigmas says what is tried, as stages does: leave one of them out"),
        ({"stage": DEEP}, "unknown key 'stage'; did you mean 'stages'"),
    ],
)
def test_what_is_wrong_with_a_stage_is_named(tmp_path: Path, calibration: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"run.toml: .*{words}"):
        configured(tmp_path, **calibration)


def test_what_is_chosen_is_drawn_by_the_files_that_are_written(tmp_path: Path) -> None:
    config = configured(tmp_path, depth=True)
    setting = config.settings(2, config.settings()[-1])[-1]
    assert {*tomllib.loads(chosen.beside(config, setting))} >= {"tora", "repulsion"}
    run = build_run(tomllib.loads(chosen.run(config, setting)), file="found/run.toml")
    assert run.arms[-1].interventions == setting.acting
    beside = tomllib.loads(chosen.beside(config, setting))
    assert (beside["tora"]["blocks"], beside["repulsion"]["blocks"]) == ([0.625, 1.0], [0.5, 1.0])


class World:
    """A model in which TORA is right in the second half of the blocks, and repulsion in the first."""

    def __init__(self) -> None:
        self.made = 0

    def make_missing(self, maker: Maker, groups: Sequence[Planned]) -> None:
        for one in groups:
            if find(maker.output, one.name) is None:
                self.made += 1
                write(maker.output, one.name, self.result(one))

    def result(self, one: Planned) -> GroupResult:
        match, diversity = 0.3, 1.4
        for config in one.setting.acting:
            if isinstance(config, ToraConfig):
                late = config.blocks[0] == 0.5
                match += 0.02 * (config.sigma - 1) if late else 0.005
                diversity -= 0.0 if late else 0.1
            if isinstance(config, RepulsionConfig):
                early = config.blocks == (0.0, 0.5)
                match -= 0.0 if early else 0.1
                diversity += config.strength
        offset = len(one.prompt.prompt) / 100  # of the prompt
        scores = (match + offset, match - offset)
        return GroupResult(
            prompt=one.prompt.prompt, blew_up=False, scores=scores, pair_vendi=diversity, seconds=1.0, edits={}
        )


def test_blocks_are_found_stage_by_stage_and_the_page_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(Maker, "make_missing", lambda maker, groups: world.make_missing(maker, groups))
    config, output = configured(tmp_path, depth=True), Storage.open(tmp_path / "found")
    made = calibrate.run(config, output)
    content = made.content
    names = [content.settings[one.chosen].name for one in content.stages if one.chosen is not None]
    assert names == [
        "tora.blocks 0.5-1, sigma 2",
        "tora.blocks 0.5-1, sigma 5",
        "tora.blocks 0.5-1, sigma 5, repulsion.blocks 0-0.5, strength 0.2",
        "tora.blocks 0.5-1, sigma 5, repulsion.blocks 0-0.5, strength 0.6",
    ]
    assert [content.settings[one.settings[0]].name for one in content.stages[:2]] == ["stock", "stock"]
    assert len({one.name for one in content.settings}) == len(content.settings)
    assert content.stages[0].reason == (
        "1 of 6 settings match their prompts as well as the best (tora.blocks 0.5-1, sigma 2, 0.3200); of these "
        "tora.blocks 0.5-1, sigma 2 has the most diverse groups (1.400)"
    )
    page = (tmp_path / "found" / "calibration.html").read_text()
    for number, one in enumerate(content.stages, 1):
        assert one.reason in page
        assert page.count(f"goes on from stage {number}") == (number < 4)
    assert page.count("<tr><th>") == 1 + len(content.settings), "the head, and each setting once"
    assert "match less stock over sigma, tora.blocks 0.5-1<" in page
    report = json.loads((tmp_path / "found" / "report.json").read_bytes())
    assert report["settings"][report["chosen"]]["acting"]["repulsion"] == {"blocks": [0.0, 0.5], "strength": 0.6}
    drawn, world.made = world.made, 0
    assert drawn == len(content.settings) * len(content.prompts), "what two stages try is drawn once"
    assert calibrate.run(config, output).content == content
    assert world.made == 0


def test_a_stage_in_which_everything_blows_up_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blow_up(maker: Maker, groups: Sequence[Planned]) -> None:
        for one in groups:
            write(maker.output, one.name, GroupResult(prompt=one.prompt.prompt, blew_up=True, seconds=1.0, edits={}))

    monkeypatch.setattr(Maker, "make_missing", blow_up)
    made = calibrate.run(configured(tmp_path, depth=True), Storage.open(tmp_path / "found"))
    assert (made.content.chosen, len(made.content.stages), made.run) == (None, 1, "")
