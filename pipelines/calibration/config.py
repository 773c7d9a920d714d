"""What a calibration tries: settings of TORA and repulsion on a grid, on some prompts of a run.

Its file is that of a run, with one more table, [calibration]; model, prompts, sampling, scorer and all settings that
are not on the grid are those of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.errors import require
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import InterventionConfig
from pipelines.calibration.choose import Prefer
from pipelines.config import run as run_config
from pipelines.config import toml
from pipelines.config.run import RunConfig
from pipelines.errors import UserError

TABLE = "calibration"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The table [calibration]."""

    sigmas: tuple[float, ...] = ()
    """Of TORA; 1 is without TORA. () takes 1, the run's own, and as much again beyond it."""
    strengths: tuple[float, ...] = ()
    """Of repulsion; 0 is without repulsion. () takes 0, a third of the run's own, the run's own, and three times it."""
    prompts: int = 8
    """Most prompts, the first ones; each is one group of pictures in every setting. 2 or more."""
    prefer: Prefer = "diversity"
    """What is chosen by among the settings that are as good as the best in the other: how different the pictures of a
    group are, or how well they match their prompts."""

    def __post_init__(self) -> None:
        require(self.prefer in ("diversity", "match"), "prefer", self.prefer, "needs 'diversity' or 'match'")
        require(self.prompts >= 2, "prompts", self.prompts, "needs 2 or more, for intervals")
        for name in ("sigmas", "strengths"):
            values = getattr(self, name)
            good = len({*values}) == len(values) and all(math.isfinite(value) and value >= 0 for value in values)
            require(good, name, values, "needs different numbers, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A point of the grid."""

    sigma: float
    """Of TORA; 1 is without it."""
    strength: float
    """Of repulsion; 0 is without it."""

    @property
    def name(self) -> str:
        """As tables call it."""
        parts = [f"sigma {self.sigma:g}"] if self.sigma != 1 else []
        parts += [f"strength {self.strength:g}"] if self.strength else []
        return ", ".join(parts) or "stock"


STOCK = Setting(sigma=1.0, strength=0.0)
"""The model without either; it is part of every grid."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """All settings of a calibration."""

    run: RunConfig
    """Where the rest comes from."""
    tables: Mapping[str, Any]
    """The tables of the run, as its file has them."""
    grid: Grid
    """What is tried."""

    def settings(self) -> tuple[Setting, ...]:
        """The points of the grid, the stock model first, weaker ones before stronger ones."""
        own_sigma, own_strength = self.tora.sigma, self.repulsion.strength
        sigmas = self.grid.sigmas or (1.0, own_sigma, 2 * own_sigma - 1.0)
        strengths = self.grid.strengths or (0.0, own_strength / 3, own_strength, 3 * own_strength)
        return tuple(
            Setting(sigma=sigma, strength=strength)
            for sigma in sorted({1.0, *(round(sigma, 6) for sigma in sigmas)})
            for strength in sorted({0.0, *(float(f"{strength:.4g}") for strength in strengths)})
        )

    @property
    def tora(self) -> ToraConfig:
        """The run's settings of TORA."""
        found = self.run.interventions["tora"]
        assert isinstance(found, ToraConfig)
        return found

    @property
    def repulsion(self) -> RepulsionConfig:
        """The run's settings of repulsion."""
        found = self.run.interventions["repulsion"]
        assert isinstance(found, RepulsionConfig)
        return found

    def at(self, setting: Setting) -> tuple[ToraConfig, RepulsionConfig]:
        """The settings of the interventions at a point of the grid.

        setting: the point.
        """
        tora = replace(self.tora, sigma=setting.sigma, angle=0.0 if setting.sigma == 1 else self.tora.angle)
        return tora, replace(self.repulsion, strength=setting.strength, eta=0.0)

    def acting(self, setting: Setting) -> tuple[InterventionConfig, ...]:
        """The interventions that change something at a point of the grid.

        setting: the point.
        """
        on = (setting.sigma != 1, setting.strength > 0)
        return tuple(one for one, acts in zip(self.at(setting), on, strict=True) if acts)

    def drawn_with(self, setting: Setting) -> tuple[InterventionConfig, ...]:
        """`acting`, and repulsion in any case. Of strength 0 it changes no bit, but is measured as all edits are: so
        the blocks of every setting have numbers.

        setting: a point of the grid.
        """
        tora, repulsion = self.at(setting)
        return (repulsion,) if setting.sigma == 1 else (tora, repulsion)


def load(path: Path, overrides: Sequence[str] = ()) -> CalibrationConfig:
    """The calibration of a run's TOML file.

    path: of the file; it may have the table [calibration].
    overrides: `key.sub=value`, in place of values of the file.

    Raises:
        UserError: when the file cannot be read, or a key or value does not fit.
    """
    tables = toml.read(path)
    for text in overrides:
        toml.override(tables, text)
    return build(tables, file=str(path))


def build(tables: Mapping[str, Any], *, file: str) -> CalibrationConfig:
    """The calibration of TOML tables.

    tables: those of a run, and [calibration].
    file: for messages.

    Raises:
        UserError: when a key or value does not fit.
    """
    of_run = {name: table for name, table in tables.items() if name != TABLE}
    grid = toml.build(Grid, tables.get(TABLE, {}), file=file, at=TABLE)
    config = CalibrationConfig(run=run_config.build(of_run, file=file), tables=of_run, grid=grid)
    if (size := config.run.group.size) < 2:
        raise UserError(f"{file}: group.size = {size}: a calibration compares the images of a group; use 2 or more")
    for setting in config.settings():
        try:
            config.at(setting)
        except ValueError as error:
            raise UserError(f"{file}: [{TABLE}], {setting.name}: {error}") from error
    return config
