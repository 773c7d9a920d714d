"""How a calibration chooses, and how it writes TOML."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from models.spec import Lora
from pipelines.calibration import chosen
from pipelines.calibration.choose import Tried, choose, front
from pipelines.calibration.config import build
from pipelines.config.load import build as build_run
from pipelines.config.quota import Quota
from pipelines.config.recommended import settings_of
from pipelines.config.write_toml import toml_text

PROMPTS = 8


def tried(match: float, diversity: float, *, noise: float = 0.0, blew_up: int = 0, seed: int = 0) -> Tried:
    spread = np.random.default_rng(seed).normal(size=(PROMPTS, 4)) * noise
    return Tried(match=list(match + spread), diversity=np.full(PROMPTS, diversity), blew_up=blew_up)


def test_the_most_diverse_of_those_that_match_as_well_as_the_best_is_chosen() -> None:
    stock, best, as_good, worse = (
        tried(0.28, 1.20, noise=0.05, seed=1),
        tried(0.30, 1.25, noise=0.05, seed=2),
        tried(0.295, 1.30, noise=0.05, seed=3),
        tried(0.20, 1.60, noise=0.05, seed=4),
    )
    assert choose([stock, best, as_good, worse]) == 2
    assert choose([stock, best, worse]) == 1


def test_the_best_match_of_those_that_are_as_diverse_may_be_chosen_instead() -> None:
    several = [tried(0.28, 1.2), tried(0.30, 1.3), tried(0.29, 1.3), tried(0.35, 1.25)]
    assert choose(several, "match") == 1
    assert choose(several) == 3


def test_a_difference_without_noise_decides_however_small_it_is() -> None:
    """Settings share prompts and seeds, and differences are paired."""
    assert choose([tried(0.30, 1.2, noise=0.2), tried(0.299, 1.5, noise=0.2)]) == 0


def test_of_equals_the_weakest_is_chosen() -> None:
    assert choose([tried(0.3, 1.2)] * 3) == 0


def test_what_blew_up_is_neither_chosen_nor_on_the_front() -> None:
    several = [tried(0.3, 1.2), tried(0.4, 1.9, blew_up=1)]
    assert choose(several) == 0
    assert front(several) == [True, False]
    assert choose([tried(0.3, 1.2, blew_up=8)]) is None


def test_the_front_has_what_nothing_beats() -> None:
    several = [tried(0.3, 1.2), tried(0.25, 1.3), tried(0.25, 1.25), tried(0.3, 1.2), tried(0.2, 1.4)]
    assert front(several) == [True, True, False, True, True]


def test_toml_is_read_as_it_was_meant() -> None:
    tables = {
        "model": {"path": 'a "b"\\c\n日本語 🦩\x7f', "compile": False, "odd key.": 1},
        "selection": {"min_margin": -math.inf, "share": 1e-05, "steps": (0.0, 0.15), "none": []},
        "alone": 3,
        "arms": [{"name": "a", "tora": {"sigma": 1.5, "site": "block"}}, {"name": "b"}],
    }
    assert tomllib.loads(toml_text(tables)) == {
        **tables,
        "selection": {"min_margin": -math.inf, "share": 1e-05, "steps": [0.0, 0.15], "none": []},
    }


def test_the_tables_lie_beside_the_lora_that_acted_and_are_for_its_runs_alone(tmp_path: Path) -> None:
    """A few-step LoRA's sampling, or what was chosen beside it, is not for runs of the model without it."""
    model, lora = tmp_path / "model", tmp_path / "turbo.safetensors"
    model.mkdir()
    lora.touch()
    tables: dict[str, Any] = {
        "run": {"output": str(tmp_path / "out")},
        "prompts": {"path": "prompts.txt"},
        "model": {"path": str(model), "loras": [{"name": "turbo", "path": str(lora)}]},
        "scoring": {"model": "m"},
        "sampling": {"steps": 4, "guidance_scale": 1.0},
    }
    config = build(tables, file="run.toml")
    setting = config.settings()[-1]
    alone = settings_of(str(model))
    text = chosen.beside(config, setting)
    assert chosen.owner(config) == f"the LoRA {lora}"
    assert "with LoRA turbo" in text
    lora.with_suffix(".toml").write_text(text)
    assert settings_of(str(model)) == alone
    found = settings_of(str(model), [Lora(name="turbo", path=str(lora))])
    assert (found.sampling.steps, found.sampling.guidance_scale) == (4, 1.0)
    assert (found.interventions["tora"], found.interventions["repulsion"]) == config.at(setting)
    assert tomllib.loads(chosen.run(config, setting))["sampling"]["steps"] == 4
    tables["model"] = {"path": str(model)}
    assert chosen.owner(build(tables, file="run.toml")) == "the model's folder"


def test_the_run_that_is_written_keeps_quotas_but_not_their_candidates_which_are_other_arms(tmp_path: Path) -> None:
    tables = {
        "run": {"output": str(tmp_path / "out")},
        "prompts": {"path": "prompts.txt"},
        "model": {"path": "models/embedded/weights/pipeline"},
        "scoring": {"model": "m"},
        "arms": [{"name": "plain"}, {"name": "rare", "tora": True}],
        "quota": {"accepted": 3, "candidates": ["rare"]},
    }
    config = build(tables, file="run.toml")
    text = chosen.run(config, config.settings()[-1])
    written = build_run(tomllib.loads(text), file="found/run.toml")
    assert (written.quota, [arm.name for arm in written.arms]) == (Quota(accepted=3), ["stock", "calibrated"])
