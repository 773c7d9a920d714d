"""What a calibration tries: stage by stage, values of any settings of the interventions, beside what the stages before
have chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from models.interventions.registry import entry_of, in_order
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import InterventionConfig
from pipelines.calibration.choose import Prefer
from pipelines.config import arms, toml
from pipelines.config.arms import Interventions

Values = Mapping[str, Sequence[Any]]
"""Setting of an intervention -> values to try."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A point of a stage."""

    name: str = field(compare=False)
    """As tables call it."""
    acting: tuple[InterventionConfig, ...] = ()
    """Settings of the interventions that act, in the order in which they do."""

    @property
    def sigma(self) -> float:
        """Of TORA; 1 where it does not act."""
        return next((one.sigma for one in self.acting if isinstance(one, ToraConfig)), 1.0)

    @property
    def strength(self) -> float:
        """Of repulsion; 0 where it does not act, or by its eta."""
        found = (one for one in self.acting if isinstance(one, RepulsionConfig) and not one.eta)
        return next((one.strength for one in found), 0.0)


STOCK = Setting(name="stock")
"""The model alone; the first stage begins with it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Interventions that are tried together."""

    tried: Mapping[str, Values]
    """Intervention -> what is tried of it: none, and every combination of these values, with the run's for all else."""
    prefer: Prefer
    """By which rule this stage chooses."""

    def settings(self, run: Interventions, beside: Setting, keys: Mapping[str, Sequence[str]]) -> tuple[Setting, ...]:
        """Its points: first those without the interventions of this stage, then what was chosen before.

        run: the run's settings of the interventions.
        beside: what the stages before have chosen.
        keys: intervention -> the settings by which points of the calibration differ, for their names.

        Raises:
            ValueError: when values do not fit each other.
        """
        kept = {entry_of(one).name: one for one in beside.acting}
        choices: list[list[InterventionConfig | None]] = []
        for name, values in self.tried.items():
            base = kept.get(name, run[name])
            changes = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
            choices.append([None, *([base] if name in kept else []), *(_changed(base, change) for change in changes)])
        others = [one for name, one in kept.items() if name not in self.tried]
        points = (in_order([*others, *(one for one in choice if one)]) for choice in product(*choices))
        return tuple(Setting(name=name_of(values_of(one, keys), keys), acting=one) for one in dict.fromkeys(points))


def read(tables: Any, run: Interventions, prefer: Prefer, *, file: str, at: str) -> tuple[Stage, ...]:
    """The stages of an array of tables, in which interventions are keys: tora = { sigma = [2.0, 3.0] }.

    tables: the value of the key.
    run: the run's settings of the interventions.
    prefer: the rule of stages that name none.
    file, at: file and key, for messages.

    Raises:
        UserError: when a table does not fit.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        raise toml.wrong(file, at, tables, f"an array of tables ([[{at}]])")
    stages = []
    for number, table in enumerate(tables):
        here = f"{at}[{number}]"
        rest, asked = arms.take(table)
        tried = {name: _values(name, values, run, file, here) for name, values in asked.items()}
        given: dict[str, Any] = {"tried": tried}
        if "prefer" not in rest:
            given["prefer"] = prefer
        stages.append(toml.build(Stage, rest, file=file, at=here, given=given, hints=arms.names()))
        if not tried:
            raise toml.wrong(file, here, table, "a table that names interventions, each with values to try")
    return tuple(stages)


def _values(name: str, values: Any, run: Interventions, file: str, at: str) -> dict[str, tuple[Any, ...]]:
    """Each value as a setting of the intervention holds it."""
    if not isinstance(values, Mapping):
        raise toml.wrong(file, f"{at}.{name}", values, "a table with an array of values for each setting")
    for key, several in values.items():
        if not isinstance(several, list) or not several:
            raise toml.wrong(file, f"{at}.{name}.{key}", several, "an array of values to try")

    def read_one(key: str, value: Any) -> Any:
        (config,) = arms.chosen({name: {key: value}}, run, file=file, at=at)
        return getattr(config, key)

    return {key: tuple(read_one(key, value) for value in several) for key, several in values.items()}


def _changed(base: InterventionConfig, change: Mapping[str, Any]) -> InterventionConfig:
    """The settings with others in their place; what would override those is taken away."""
    overriding = [one.clears for one in entry_of(base).controls if one.clears and one.field in change]
    cleared = {key: type(getattr(base, key))() for key in overriding}
    changed: dict[str, Any] = {**cleared, **change}
    try:
        return replace(base, **changed)
    except ValueError as error:
        raise ValueError(f"{', '.join(f'{key} {shown(value)}' for key, value in change.items())}: {error}") from error


def values_of(acting: Sequence[InterventionConfig], keys: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The values by which a point differs from others: intervention that acts -> setting -> value.

    acting: settings of those that act.
    keys: intervention -> the settings by which points differ.
    """
    named = {entry_of(config).name: config for config in acting}
    return {name: {key: getattr(config, key) for key in keys.get(name, ())} for name, config in named.items()}


def name_of(values: Mapping[str, Mapping[str, Any]], keys: Mapping[str, Sequence[str]]) -> str:
    """A point in words, such as "sigma 2, tora.blocks 0.5-1".

    values, keys: as of `values_of`.
    """
    every = [key for several in keys.values() for key in several]
    parts = []
    for name, own in values.items():
        words = [(key if every.count(key) == 1 else f"{name}.{key}", value) for key, value in own.items()]
        parts += [f"{word} {shown(value)}" for word, value in words] or [name]
    return ", ".join(parts) or STOCK.name


def shown(value: Any) -> str:
    """A value of a setting, in few letters."""
    if isinstance(value, tuple):
        return "-".join(f"{end:g}" for end in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
