"""A calibration on the tiny pipeline: every setting is measured, one is chosen, and the same command goes on."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import calibrate
from models.drawn import Drawn
from models.errors import ImageError
from models.generator import Generator
from models.hooks.likeness import AFTER, BEFORE, SQUARE, likeness
from models.hooks.record import BRANCHES
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.recommended import recommended
from models.spec import Group, ModelSpec, Sampling
from pipelines.calibration.config import load
from pipelines.calibration.stages import STOCK
from pipelines.config import load as run_file
from pipelines.errors import UserError
from tests.support.job import PLAIN, write_job

GRID = ("calibration.sigmas=[1.5]", "calibration.strengths=[0.3]", "calibration.prompts=3")
SETTINGS = ["stock", "strength 0.3", "sigma 1.5", "sigma 1.5, strength 0.3"]


def command(folder: Path, *more: str) -> int:
    words = ["--config", str(folder / "run.toml"), "--output", str(folder / "found")]
    return calibrate.main([*words, *(word for text in (*GRID, *more) for word in ("--set", text))])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    """A folder with a run's config, and its calibration in `found`; for tests that only look."""
    folder = tmp_path_factory.mktemp("calibrated")
    write_job(folder, tiny_pipeline, tiny_clip, PLAIN)
    assert command(folder) == 0
    return folder


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "found" / "report.json").read_bytes())
    return content


def test_every_setting_is_measured_on_the_same_prompts(calibrated: Path) -> None:
    content = content_of(calibrated)
    assert [one["name"] for one in content["settings"]] == SETTINGS
    assert content["prompts"] == [line["prompt"] for line in PLAIN[:3]]
    stock, repelled, tora, both = content["settings"]
    assert stock["match_difference"] is None
    for one in (repelled, tora, both):
        assert one["score"]["low"] <= one["score"]["mean"] <= one["score"]["high"]
        difference = one["match"]["mean"] - stock["match"]["mean"]
        assert one["match_difference"]["mean"] == pytest.approx(difference, abs=1e-6)
    assert [sorted(one["edits"]) for one in (stock, tora)] == [["repulsion"], ["repulsion", "tora"]]
    (idle,), (moved,) = stock["edits"]["repulsion"], repelled["edits"]["repulsion"]  # not after the last of two blocks
    assert idle["displacement"] == 0.0
    assert idle["after"] == pytest.approx(idle["before"], abs=1e-5)
    assert moved["displacement"] > 0.01
    assert moved["after"] < moved["before"] - 1e-4
    assert repelled["eta"] == {"0": pytest.approx(0.3 * moved["square"])}
    assert stock["eta"] == {}
    assert [at["block"] for at in tora["edits"]["tora"]] == [0, 1]


def test_the_choice_is_a_run_and_tables_beside_the_model(calibrated: Path, tiny_pipeline: str, tmp_path: Path) -> None:
    content = content_of(calibrated)
    chosen = content["settings"][content["chosen"]]
    found = calibrated / "found"
    run = run_file.load(found / "run.toml")
    assert run.arms[0].name == "stock"
    on = {ToraConfig: chosen["sigma"] != 1, RepulsionConfig: chosen["strength"] > 0}
    assert [type(one) for one in run.arms[-1].interventions] == [kind for kind, acts in on.items() if acts]
    before = run_file.load(calibrated / "run.toml")
    assert (run.model, run.sampling, run.prompts) == (before.model, before.sampling, before.prompts)
    assert run.run.output == f"{before.run.output}-calibrated"
    model = Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))
    shutil.copy(found / "chosen.toml", tmp_path / "model.toml")
    known = recommended(str(model))
    assert [*known.files] == [str(tmp_path / "model.toml")]
    assert not known.warning
    assert known.interventions["repulsion"]["strength"] == chosen["strength"]
    assert known.interventions["tora"]["sigma"] == chosen["sigma"]
    tables = tomllib.loads((calibrated / "run.toml").read_text())
    again = run_file.build({**tables, "model": {"path": str(model)}}, file="run.toml")
    assert asdict(again.interventions["tora"])["sigma"] == chosen["sigma"]


def test_the_page_has_curves_marks_and_pictures_and_loads_nothing(calibrated: Path) -> None:
    page = (calibrated / "found" / "calibration.html").read_text()
    assert page.count("data:image/png") == 4 * 3
    assert page.count("<polyline") >= 4
    assert page.count("chosen</small>") + page.count("chosen, ") == 1
    assert page.count(" chosen</text>") == 1
    assert page.count("Pareto front") > 1
    assert not re.search(r'(src|href)="http', page)


def test_the_same_command_goes_on_with_what_is_missing(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(calibrated, tmp_path / "again"))
    first = content_of(folder)
    with monkeypatch.context() as patched:
        patched.setattr(Generator, "__init__", lambda *_: pytest.fail("all groups are there"))
        assert command(folder) == 0
    assert content_of(folder) == first
    lost = first["settings"][3]["groups"][1]
    picture = (folder / "found" / "images" / f"{lost}.png").read_bytes()
    (folder / "found" / "groups" / f"{lost}.json").unlink()
    made: list[int] = []
    draw = Generator.draw

    def watch(self: Generator, groups: list[Group], *rest: Any, **named: Any) -> list[Drawn]:
        made.append(len(groups))
        return draw(self, groups, *rest, **named)

    monkeypatch.setattr(Generator, "draw", watch)
    assert command(folder) == 0
    assert made == [1]
    assert (folder / "found" / "images" / f"{lost}.png").read_bytes() == picture
    again = content_of(folder)
    for before, after in zip(first["settings"], again["settings"], strict=True):
        before.pop("seconds_per_image")
        after.pop("seconds_per_image")
        assert after["score"] == pytest.approx(before["score"], abs=1e-6)


def test_a_setting_whose_pictures_blow_up_is_not_chosen(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(calibrated, tmp_path / "blown"))
    draw = Generator.draw

    def fail_where_tora_is_strong(self: Generator, groups: list[Group], *rest: Any, **named: Any) -> list[Drawn]:
        if any(isinstance(one, ToraConfig) and one.sigma == 4 for one in groups[0].interventions):
            raise ImageError("NaN")
        return draw(self, groups, *rest, **named)

    monkeypatch.setattr(Generator, "draw", fail_where_tora_is_strong)
    assert command(folder, "calibration.sigmas=[1.5, 4]") == 0
    content = content_of(folder)
    blown = content["settings"][4:]
    assert [(one["sigma"], one["blew_up"], one["score"], one["on_the_front"]) for one in blown] == [
        (4.0, 1.0, None, False)
    ] * 2
    assert content["chosen"] < 4


def test_a_model_alone_is_enough(calibrated: Path, tiny_pipeline: str, tiny_clip: str, tmp_path: Path) -> None:
    """Of the groups of the fixture none fits: sampling, sizes and seeds are the defaults of such a model."""
    prompts = calibrated / "prompts.jsonl"
    words = [
        "--model",
        tiny_pipeline,
        "--prompts",
        str(prompts),
        "--scorer",
        tiny_clip,
        "--output",
        str(tmp_path / "o"),
    ]
    small = {"model.dtype": "float32", "sampling.steps": 1, "sampling.width": 16, "sampling.height": 16}
    small |= {"sampling.max_sequence_length": 16, "calibration.prompts": 2, "calibration.strengths": [1]}
    small |= {"group.size": 2, "calibration.sigmas": [1]}
    assert calibrate.main([*words, *(word for item in small.items() for word in ("--set", "{}={}".format(*item)))]) == 0
    assert len(json.loads((tmp_path / "o" / "report.json").read_bytes())["settings"]) == 2
    assert run_file.load(tmp_path / "o" / "run.toml").model.path == tiny_pipeline


def test_a_folder_of_somebody_else_is_left_as_it_is(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "list.json").write_text("{}")
    assert calibrate.main(["--config", str(calibrated / "run.toml"), "--output", str(tmp_path)]) == 2
    assert "is not empty (groups), and has no calibration.json" in capsys.readouterr().err
    assert [*tmp_path.rglob("*.*")] == [tmp_path / "groups" / "list.json"]


def test_the_grid_is_around_the_settings_of_the_run(calibrated: Path) -> None:
    settings = load(calibrated / "run.toml", ["tora.sigma=1.3", "repulsion.strength=0.03"]).settings()
    assert settings[0] == STOCK
    assert {one.sigma for one in settings} == {1.0, 1.3, 1.6}
    assert {one.strength for one in settings} == {0.0, 0.01, 0.03, 0.09}
    assert len(settings) == 12
    assert (settings[-1].sigma, settings[-1].strength) == (1.6, 0.09)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("calibration.sigma=[1]", "unknown key 'sigma'; did you mean 'sigmas'?"),
        ("calibration.prompts=1", "prompts = 1 is out of range: needs 2 or more"),
        ("calibration.strengths=[-1]", "needs different numbers, 0 or more"),
        ("calibration.sigmas=[20]", "sigma 20.*sigma = 20.0 is out of range: needs 0.1 to 10"),
        ("group.size=1", "group.size = 1: a calibration compares"),
    ],
)
def test_what_is_wrong_is_named(calibrated: Path, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(calibrated / "run.toml", [override])


def test_lengths_and_cosines_are_those_of_the_text(tiny_pipeline: str) -> None:
    """And repulsion of strength 0, which has the stock model measured, changes no bit of the pictures."""
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))
    sampling = Sampling(steps=2, guidance_scale=3.0, width=16, height=16, max_sequence_length=4)
    seen: list[np.ndarray[Any, Any]] = []

    def note(run: Any, before: Any, after: Any) -> Any:
        seen.append(before.double().numpy())
        return likeness(run, before, after)

    group = Group(prompt="a red star", seeds=(1, 2, 3), sampling=sampling, interventions=())
    (stock,) = generator.draw([group])
    looking = Group(**{**vars(group), "interventions": (RepulsionConfig(strength=0.0, steps=(0.0, 1.0)),)})
    (drawn,) = generator.draw([looking], measure=note)
    assert np.array_equal(drawn.pixels, stock.pixels)
    numbers = drawn.edits["repulsion"]
    for step, text_RND in enumerate(seen):
        for branch, rows in zip(("uncond", "cond"), np.split(text_RND.reshape(6, -1), 2), strict=True):
            cosines = rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)
            of_block = numbers[0, step, BRANCHES.index(branch)]
            np.testing.assert_allclose(of_block[:, SQUARE], np.square(rows).sum(1), rtol=1e-5)
            np.testing.assert_allclose(of_block[:, BEFORE], (cosines.sum(1) - 1) / 2, atol=1e-5)
            np.testing.assert_allclose(of_block[:, AFTER], of_block[:, BEFORE], atol=1e-6)
