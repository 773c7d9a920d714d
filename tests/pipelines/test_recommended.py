"""A file beside a model's folder is read with the types of its settings, by the job, the endpoint and evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import ModelError
from models.interventions import registry
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.entry import TORA
from pipelines import console
from pipelines.config.load import build
from pipelines.config.recommended import settings_of
from pipelines.errors import UserError
from pipelines.evaluation import config as evaluation
from pipelines.serve.app import app
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    transformer = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}
    (folder / "transformer" / "config.json").write_text(json.dumps(transformer))
    return folder


def of_job(model: Path) -> Any:
    needed = {"run": {"output": "out"}, "prompts": {"path": "p.txt"}, "scoring": {"model": "ViT-B-32"}}
    return build({**needed, "model": {"path": str(model)}}, file="run.toml")


def of_endpoint(model: Path) -> Any:
    return resolve(ServeArgs(model=str(model)))


def of_evaluation(model: Path, *, more: str = "") -> Any:
    file = model.parent / "evaluate.toml"
    file.write_text(f"""
        output = "out"
        oracle = "oracle"
        model = {{path = "{model}"}}
        arms = [{{name = "stock"}}, {{name = "tora", tora = true}}]
        {more}
    """)
    return evaluation.load(file)


READERS = [of_job, of_endpoint, of_evaluation]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[repulson]\nstrength = 3.0", r"m\.toml: unknown table \[repulson\]; did you mean 'repulsion'\?"),
        ("[x]", r"m\.toml: unknown table \[x\]; known: sampling, tora, repulsion"),
        ("[sampling]\nsteps = 'x'", r"m\.toml: sampling\.steps = 'x': must be a whole number"),
        ("[sampling]\nstep = 3", r"m\.toml: table \[sampling\]: unknown key 'step'; did you mean 'steps'"),
        ("[sampling]\nsteps = 0", r"m\.toml: table \[sampling\]: steps = 0 is out of range"),
        ("[tora]\nsigm = 3.0", r"m\.toml: table \[tora\]: unknown key 'sigm'; did you mean 'sigma'"),
        ("[dave]\nweight = 'x'", r"m\.toml: dave\.weight = 'x': must be a number"),
        ("not toml", r"m\.toml cannot be read"),
        ("sampling = 3", r"m\.toml: sampling is no table"),
    ],
)
def test_what_is_wrong_in_it_is_told_of_it(reader: Callable[[Path], Any], text: str, message: str, model: Path) -> None:
    (model.parent / "m.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        reader(model)


@pytest.mark.parametrize("reader", READERS)
def test_its_sampling_is_taken(reader: Callable[[Path], Any], model: Path) -> None:
    (model.parent / "m.toml").write_text("[sampling]\nsteps = 9\nguidance_scale = 4\n")
    sampling = reader(model).sampling
    assert (sampling.steps, repr(sampling.guidance_scale)) == (9, "4.0")
    assert sampling == settings_of(str(model)).sampling


def test_an_evaluation_s_own_sampling_goes_first(model: Path) -> None:
    (model.parent / "m.toml").write_text("[sampling]\nsteps = 9\nwidth = 64\n")
    sampling = of_evaluation(model, more="sampling = {steps = 3}").sampling
    assert (sampling.steps, sampling.width, sampling.guidance_scale) == (3, 64, 7.0)


def test_tables_of_plugins_are_known(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model.parent / "m.toml").write_text("[louder]\nsigma = 3\n")
    with pytest.raises(UserError, match=r"unknown table \[louder\]"):
        settings_of(str(model))
    monkeypatch.setattr(registry, "_REGISTERED", registry._REGISTERED.copy())
    registry.register(replace(TORA, name="louder"))
    assert settings_of(str(model)).interventions["louder"] == ToraConfig(sigma=3.0)


def test_the_endpoint_says_once_what_the_job_says(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    warning = of_job(model).recommended.warning
    assert "is of no published shape" in warning
    assert of_evaluation(model).recommended.warning == warning
    assert warning in of_endpoint(model).warnings
    with caplog.at_level("WARNING", "ray.serve"):
        app(ServeArgs(model=str(model)))
        app(ServeArgs())
    assert [record.getMessage() for record in caplog.records] == [warning]


def test_an_error_of_the_model_is_one_message() -> None:
    assert console.user_message(ModelError("no such family")) == "no such family"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("tora.centre", "1.0", "a sweep changes a number"),
        ("tora.steps", "0.5", "a sweep changes a number"),
        ("tora.site", "1.0", "a sweep changes a number"),
        ("tora.components", "1.5", "is a whole number"),
        ("tora.sigm", "1.5", "no such setting"),
        ("name", "1.0", "no such setting"),
    ],
)
def test_a_sweep_changes_numbers_alone(setting: str, value: str, message: str, model: Path) -> None:
    sweep = f'{{question = "q", setting = "{setting}", values = [{value}], tora = true}}'
    with pytest.raises(UserError, match=message):
        of_evaluation(model, more=f"sweeps = [{sweep}]")


def test_a_sweep_keeps_whole_numbers_whole(model: Path) -> None:
    (sweep,) = of_evaluation(
        model, more='sweeps = [{question = "q", setting = "tora.components", values = [2], tora = true}]'
    ).sweeps
    assert repr(sweep.arms()[0].interventions[0].components) == "2"
