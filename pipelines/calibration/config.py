"""What a calibration tries: settings of the interventions, in one stage or several, on some prompts of a run.

Its file is that of a run, with one more table, [calibration]; model, prompts, sampling, scorer and all settings that
are not tried are those of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.errors import require
from models.interventions.base import Intervention
from models.interventions.registry import in_order, registered
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.entry import REPULSION
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.entry import TORA
from models.spec import InterventionConfig
from pipelines.calibration.choose import Prefer
from pipelines.calibration.stages import STOCK, Setting, Stage, read
from pipelines.config import toml
from pipelines.config.arms import Interventions
from pipelines.config.load import build as build_run
from pipelines.config.run import RunConfig
from pipelines.errors import UserError

TABLE, STAGES = "calibration", "stages"

_MOST_SIGMA = 10.0
"""That `ToraConfig` takes."""
_TORA_BLOCKS = ((0.0, 1.0), (0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.625, 1.0))
_REPULSION_BLOCKS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The table [calibration], but for the stages that it may name."""

    sigmas: tuple[float, ...] = ()
    """Of TORA; 1 is without TORA. () takes 1, the run's own, and as much again beyond it, up to 10; with `depth` twice
    that, too, as few blocks stand more."""
    strengths: tuple[float, ...] = ()
    """Of repulsion; 0 is without repulsion. () takes 0, a third of the run's own, the run's own, and three times it."""
    depth: bool = False
    """Look for the blocks in which each acts, too, in four stages in place of the grid: TORA's blocks, its sigma there,
    and beside what was chosen of it repulsion's blocks and its strength there."""
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

    def stages(self, run: Interventions) -> tuple[Stage, ...]:
        """What is tried where the table names no stages.

        run: the run's settings of the interventions.
        """
        tora, repulsion = run[TORA.name], run[REPULSION.name]
        assert isinstance(tora, ToraConfig)
        assert isinstance(repulsion, RepulsionConfig)
        beyond = (1, 2, 4) if self.depth else (1, 2)
        sigmas = self.sigmas or [min(_MOST_SIGMA, 1.0 + times * (tora.sigma - 1.0)) for times in beyond]
        strengths = self.strengths or (repulsion.strength / 3, repulsion.strength, 3 * repulsion.strength)
        sigma = sorted({round(one, 6) for one in sigmas} - {1.0})
        strength = sorted({float(f"{one:.4g}") for one in strengths} - {0.0})
        if not self.depth:
            grid = {TORA.name: {"sigma": sigma}, REPULSION.name: {"strength": strength}}
            return (Stage(tried=grid, prefer=self.prefer),)
        tried: list[tuple[str, dict[str, Sequence[Any]]]] = [
            (TORA.name, {"blocks": [*dict.fromkeys((tora.blocks, *_TORA_BLOCKS))]}),
            (TORA.name, {"sigma": sigma}),
            (REPULSION.name, {"blocks": [*dict.fromkeys((repulsion.blocks, *_REPULSION_BLOCKS))]}),
            (REPULSION.name, {"strength": strength}),
        ]
        return tuple(Stage(tried={name: values}, prefer=self.prefer) for name, values in tried)


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """All settings of a calibration."""

    run: RunConfig
    """Where the rest comes from."""
    tables: Mapping[str, Any]
    """The tables of the run, as its file has them."""
    grid: Grid
    """The table [calibration]."""
    named: tuple[Stage, ...] = ()
    """The stages that this table names; () takes those of `Grid.stages`."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is tried: each begins with what those before it have chosen."""
        return self.named or self.grid.stages(self.run.interventions)

    @property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """Intervention -> its settings that are tried in any stage."""
        keys: dict[str, list[str]] = {}
        for stage in self.stages:
            for name, values in stage.tried.items():
                own = keys.setdefault(name, [])
                own += [key for key in values if key not in own]
        return keys

    def settings(self, stage: int = 0, beside: Setting = STOCK) -> tuple[Setting, ...]:
        """The points of a stage, weaker ones first where their values are in that order.

        stage: its number.
        beside: what the stages before have chosen.

        Raises:
            UserError: when values do not fit each other.
        """
        try:
            return self.stages[stage].settings(self.run.interventions, beside, self.keys)
        except ValueError as error:
            raise UserError(f"[{TABLE}], {error}") from error

    def at(self, setting: Setting) -> tuple[InterventionConfig, ...]:
        """The settings of a run that draws as a point does: of what acts there, and idle ones of TORA and repulsion,
        which runs without arms have act.

        setting: the point.
        """
        acting = {type(one) for one in setting.acting}
        idle = [self._idle(entry) for entry in registered() if entry.idle]
        return in_order([*setting.acting, *(one for one in idle if type(one) not in acting)])

    def drawn_with(self, setting: Setting) -> tuple[InterventionConfig, ...]:
        """What acts at a point, and repulsion in any case. Of strength 0 it changes no bit, but is measured as all
        edits are: so the blocks of every setting have numbers.

        setting: the point.
        """
        return in_order([self._idle(REPULSION), *setting.acting])

    def _idle(self, entry: Intervention) -> InterventionConfig:
        changed: dict[str, Any] = dict(entry.idle)
        return replace(self.run.interventions[entry.name], **changed)


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
    run = build_run(of_run, file=file)
    own = tables.get(TABLE, {})
    rest = {key: value for key, value in own.items() if key != STAGES} if isinstance(own, Mapping) else own
    grid = toml.build(Grid, rest, file=file, at=TABLE, hints=(STAGES,))
    named: tuple[Stage, ...] = ()
    if STAGES in own:
        if twice := [key for key in ("sigmas", "strengths", "depth") if key in rest]:
            raise UserError(
                f"{file}: [{TABLE}]: {twice[0]} says what is tried, as {STAGES} does: leave one of them out"
            )
        named = read(own[STAGES], run.interventions, grid.prefer, file=file, at=f"{TABLE}.{STAGES}")
    config = CalibrationConfig(run=run, tables=of_run, grid=grid, named=named)
    if (size := run.group.size) < 2:
        raise UserError(f"{file}: group.size = {size}: a calibration compares the images of a group; use 2 or more")
    for number in range(len(config.stages)):
        try:
            config.settings(number)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return config
