"""The chosen settings as TOML: tables to lie beside the model's folder or its LoRA, and a run that draws with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.interventions.registry import entry_of
from pipelines.calibration.choose import HOW, RULES
from pipelines.calibration.config import CalibrationConfig
from pipelines.calibration.stages import Setting
from pipelines.config.write_toml import toml_text

BESIDE, RUN = "chosen.toml", "run.toml"
"""The file with the tables that `models.recommended` reads as NAME.toml beside NAME; and a run's file."""


def beside(config: CalibrationConfig, setting: Setting) -> str:
    """The text of `BESIDE`, which lies beside what `owner` says.

    config: the calibration.
    setting: the chosen one.
    """
    rule = RULES[config.stages[-1].prefer]
    head = f"# {setting.name}: by jobs/calibrate.py on {_of(config)}.\n# {rule}: {HOW}\n"
    sampling = config.run.sampling.settings(pictures=False)
    return head + toml_text({"sampling": sampling, **_interventions(config, setting)})


def owner(config: CalibrationConfig) -> str:
    """In words, what `BESIDE` is to lie beside: the model's folder, or the last of its LoRAs, whose tables go first.

    Beside the model they would be for runs without the LoRA too, which draw nothing at the sampling of a few-step one.

    config: the calibration.
    """
    loras = config.run.model.loras
    return f"the LoRA {loras[-1].path}" if loras else "the model's folder"


def run(config: CalibrationConfig, setting: Setting) -> str:
    """The text of `RUN`: the run that was calibrated, with the stock model and the chosen settings as its arms, and an
    output folder of its own.

    config: the calibration.
    setting: the chosen one.
    """
    acting = {entry_of(one).name: True for one in setting.acting}
    arms = [{"name": "stock"}, *([{"name": "calibrated", **acting}] if acting else [])]
    given = {name: table for name, table in config.tables.items() if name != "arms"}
    if quota := given.get("quota"):  # its candidates are arms that this run does not have
        given["quota"] = {name: value for name, value in quota.items() if name != "candidates"}
    output = {**given["run"], "output": f"{config.run.run.output.rstrip('/')}-calibrated"}
    sampling = config.run.sampling.settings(pictures=False)
    return toml_text({**given, "run": output, "sampling": sampling, **_interventions(config, setting), "arms": arms})


def _interventions(config: CalibrationConfig, setting: Setting) -> Mapping[str, Any]:
    return {entry_of(one).name: asdict(one) for one in config.at(setting)}


def _of(config: CalibrationConfig) -> str:
    run = config.run
    loras = "".join(f" with LoRA {lora.name}" for lora in run.model.loras)
    return f"{run.model.path}{loras}, {run.model.dtype}, groups of {run.group.size}".replace("\n", " ")
