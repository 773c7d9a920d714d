"""Settings of an evaluation: prompts, sampling, and the arms that are compared on the same prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from models.errors import require
from models.interventions.registry import entry_of
from models.recommended import UNKNOWN, Recommended
from models.spec import InterventionConfig, ModelSpec, Sampling
from pipelines.config import arms, toml
from pipelines.config.recommended import settings_of


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """How many prompts of each kind there are, chosen at even distances, and how many pictures of each."""

    per_set: int = 24
    """Most prompts of each rarity, of single things and of relations each; 0 takes all."""
    open: int = 26
    """Most prompts that leave most attributes open, for diversity; 0 takes all."""
    group_size: int = 4
    """Pictures per prompt, made together; 2 or more."""
    groups_per_batch: int = 4
    """Prompts that are denoised together."""
    seed: int = 0
    """Seed of the run: in every arm noise depends on it, the prompt and the picture's number."""

    def __post_init__(self) -> None:
        for name, least in (("per_set", 0), ("open", 0), ("group_size", 2), ("groups_per_batch", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"needs {least} or more")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One set of interventions and sampling settings that every prompt is made with."""

    name: str
    """Unique in the evaluation."""
    question: str = "the methods"
    """Arms with the same question share a table."""
    value: float | None = None
    """Value on the axis of the question's curve; None for an arm that is not a point of it."""
    guidance_scale: float | None = None
    """In place of that of the evaluation; None keeps it."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Settings of those that act; in the file each has a table of its own name."""

    def settings(self) -> dict[str, Any]:
        """The settings that change pixels, as plain values."""
        acting = {entry_of(config).name: asdict(config) for config in self.interventions}
        return {"guidance_scale": self.guidance_scale, **acting}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Arms that differ in one setting."""

    question: str
    """As in `Arm`."""
    setting: str
    """A number, such as "tora.sigma", "cads.weight" or "guidance_scale"."""
    values: tuple[float, ...]
    """Values of the setting, one per arm."""
    interventions: tuple[InterventionConfig, ...] = ()
    """As in `Arm`."""

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
        changed: dict[str, Any] = {key: int(value) if type(getattr(config, key)) is int else value}
        return replace(config, **changed)

    def __post_init__(self) -> None:
        table, _, key = self.setting.rpartition(".")
        owners = {entry_of(config).name: get_type_hints(type(config)) for config in self.interventions}
        kinds = owners.get(table) if table else {"guidance_scale": float}
        if kinds is None or key not in kinds:
            raise ValueError(f"setting = {self.setting!r}: no such setting, or its table [{table}] is missing here")
        if kinds[key] not in (float, int):
            raise ValueError(f"setting = {self.setting!r}: a sweep changes a number, which this setting is not")
        if kinds[key] is int and not all(value.is_integer() for value in self.values):
            raise ValueError(f"values = {self.values!r}: {self.setting!r} is a whole number")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """All settings of an evaluation."""

    output: str
    """Folder of the results: a local path or s3://bucket/folder."""
    name: str = "Raydiance evaluation"
    """Title of the report."""
    model: ModelSpec
    """Which model."""
    oracle: str
    """File with the oracle's weights."""
    sampling: Sampling
    """Of all arms."""
    prompts: Prompts = field(default_factory=Prompts)
    """Which prompts."""
    arms: tuple[Arm, ...]
    """One or more; the others are compared with the first."""
    sweeps: tuple[Sweep, ...] = ()
    """Further arms."""
    recommended: Recommended = field(default=UNKNOWN, compare=False)
    """What sampling and interventions were taken from where the file does not say them."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.all_arms]
        if not self.arms or len(set(names)) != len(names):
            raise ValueError(f"arms = {names}: needs one arm or more, each name once")

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The named arms, then those of the sweeps."""
        return (*self.arms, *(arm for sweep in self.sweeps for arm in sweep.arms()))


def load(path: Path, overrides: Sequence[str] = ()) -> EvaluationConfig:
    """The evaluation in a TOML file.

    path: of the file.
    overrides: `key.sub=value`, in place of values of the file.

    Raises:
        UserError: when the file cannot be read, or a key or value does not fit.
    """
    table = toml.read(path)
    for text in overrides:
        toml.override(table, text)
    model = table.get("model")
    known = settings_of(model.get("path") if isinstance(model, dict) else None)
    if isinstance(own := table.get("sampling", {}), dict):
        table["sampling"] = {**known.recommended.sampling, **own}
    kinds: dict[str, type[Any]] = {"arms": Arm, "sweeps": Sweep}
    given = {
        key: arms.build_each(kind, table.pop(key, []), known.interventions, file=str(path), key=key)
        for key, kind in kinds.items()
    }
    return toml.build(EvaluationConfig, table, file=str(path), given={**given, "recommended": known.recommended})


def quick(config: EvaluationConfig) -> EvaluationConfig:
    """The same arms on few prompts: minutes instead of hours, with wide intervals."""
    return replace(config, prompts=replace(config.prompts, per_set=4, open=6), output=f"{config.output}-quick")
