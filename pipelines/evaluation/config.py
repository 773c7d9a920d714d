"""Settings of an evaluation: prompts, sampling, and the arms that are compared on the same prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from models.interventions.registry import entry_of
from models.recommended import recommended
from models.spec import InterventionConfig, ModelSpec, Sampling
from pipelines.config import arms, toml

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """How many prompts of each kind, drawn evenly, and how many pictures of each."""

    per_set: int = 24
    """At most so many prompts of each rarity, for single things and for relations each; 0 takes all."""
    open: int = 26
    """At most so many prompts that leave most attributes open, for diversity; 0 takes all."""
    group_size: int = 4
    """Pictures per prompt, made together."""
    groups_per_batch: int = 4
    """Prompts denoised together."""
    seed: int = 0
    """Pictures start from noise drawn with this, the prompt and the picture's number, in every arm."""

    def __post_init__(self) -> None:
        for name, least in (("per_set", 0), ("open", 0), ("group_size", 2), ("groups_per_batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} is out of range: needs {least} or more")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make pictures."""

    name: str
    question: str = "the methods"
    """Arms with the same question share a table."""
    value: float | None = None
    """Place on the question's curve."""
    guidance_scale: float | None = None
    interventions: tuple[InterventionConfig, ...] = ()
    """In the file each is a table of its own name."""

    def settings(self) -> dict[str, Any]:
        """What changes pixels, as plain values."""
        acting = {entry_of(config).name: asdict(config) for config in self.interventions}
        return {"guidance_scale": self.guidance_scale, **acting}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Arms that differ in one setting: `setting` is "tora.sigma", "cads.weight" or "guidance_scale", say."""

    question: str
    setting: str
    values: tuple[float, ...]
    interventions: tuple[InterventionConfig, ...] = ()

    def arms(self) -> list[Arm]:
        """One arm per value."""
        return [self._arm(value) for value in self.values]

    def _arm(self, value: float) -> Arm:
        name = f"{self.question}: {value:g}"
        base = Arm(name=name, question=self.question, value=value, interventions=self.interventions)
        table, _, key = self.setting.rpartition(".")
        if not table:
            changed: dict[str, Any] = {key: value}
            return replace(base, **changed)
        return replace(base, interventions=tuple(self._changed(config, value) for config in self.interventions))

    def _changed(self, config: InterventionConfig, value: float) -> InterventionConfig:
        table, _, key = self.setting.rpartition(".")
        if entry_of(config).name != table:
            return config
        changed: dict[str, Any] = {key: int(value) if isinstance(getattr(config, key), int) else value}
        return replace(config, **changed)

    def __post_init__(self) -> None:
        table, _, key = self.setting.rpartition(".")
        owners = {entry_of(config).name: config for config in self.interventions} if table else {"": Arm(name="")}
        if table not in owners or not hasattr(owners[table], key):
            raise ValueError(f"setting = {self.setting!r}: no such setting, or its table [{table}] is missing here")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Everything an evaluation run is made from. The first arm is what the others are compared with."""

    output: str
    """Folder of the results: a local path or s3://bucket/folder."""
    name: str = "Raydiance evaluation"
    model: ModelSpec
    oracle: str
    """File with the oracle's weights."""
    sampling: Sampling
    prompts: Prompts = field(default_factory=Prompts)
    arms: tuple[Arm, ...]
    sweeps: tuple[Sweep, ...] = ()

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.all_arms]
        if not self.arms or len(set(names)) != len(names):
            raise ValueError(f"arms = {names}: needs one arm or more, each name once")

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The named arms, then those of the sweeps."""
        return (*self.arms, *(arm for sweep in self.sweeps for arm in sweep.arms()))


def load(path: Path, overrides: Sequence[str] = ()) -> EvaluationConfig:
    """The evaluation in the TOML file `path`, with `key.sub=value` overrides.

    Raises:
        UserError: the file cannot be read, or a key or value does not fit.
    """
    table = toml.read(path)
    for text in overrides:
        toml.override(table, text)
    model = table.get("model")
    named = model.get("path") if isinstance(model, dict) else None
    settings = arms.defaults(recommended(named) if isinstance(named, str) else None)
    kinds: tuple[tuple[str, type[Arm | Sweep]], ...] = (("arms", Arm), ("sweeps", Sweep))
    given = {key: _acting(kind, table.pop(key, []), settings, str(path), key) for key, kind in kinds}
    return toml.build(EvaluationConfig, table, file=str(path), given=given)


def _acting(kind: type[T], entries: Any, settings: arms.Interventions, file: str, key: str) -> tuple[T, ...]:
    """Tables of arms or sweeps, in which each intervention is a table of its settings."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise toml.wrong(file, key, entries, f"an array of tables ([[{key}]])")
    built = []
    for number, entry in enumerate(entries):
        rest, asked = arms.take(entry)
        at = f"{key}[{number}]"
        given = {"interventions": arms.chosen(asked, settings, file=file, at=at)}
        built.append(toml.build(kind, rest, file=file, at=at, given=given, hints=arms.names()))
    return tuple(built)


def quick(config: EvaluationConfig) -> EvaluationConfig:
    """The same arms on few prompts: minutes instead of hours, with wide intervals."""
    return replace(config, prompts=replace(config.prompts, per_set=4, open=6), output=f"{config.output}-quick")
