"""Settings of an evaluation: prompts, sampling, and the arms that are compared on the same prompts and seeds."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from models.spec import ModelSpec, RepulsionConfig, RivalConfig, Sampling, ToraConfig
from pipelines.config import toml
from pipelines.config.toml import override
from pipelines.errors import UserError


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
    """One way to make pictures. `question`: arms with the same question share a table; `value`: place on its curve."""

    name: str
    question: str = "the methods"
    value: float | None = None
    tora: ToraConfig | None = None
    repulsion: RepulsionConfig | None = None
    rival: RivalConfig | None = None
    guidance_scale: float | None = None

    def settings(self) -> dict[str, Any]:
        """What changes pixels, as plain values."""
        return {k: v for k, v in asdict(self).items() if k not in ("name", "question", "value")}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Arms that differ in one setting: `setting` is "tora.sigma", "rival.weight" or "guidance_scale", say."""

    question: str
    setting: str
    values: tuple[float, ...]
    tora: ToraConfig | None = None
    repulsion: RepulsionConfig | None = None
    rival: RivalConfig | None = None

    def arms(self) -> list[Arm]:
        """One arm per value."""
        return [self._arm(value) for value in self.values]

    def _arm(self, value: float) -> Arm:
        base = Arm(
            name=f"{self.question}: {value:g}", question=self.question, value=value,
            tora=self.tora, repulsion=self.repulsion, rival=self.rival,
        )  # fmt: skip
        table, _, key = self.setting.rpartition(".")
        if not table:
            changed: dict[str, Any] = {key: value}
            return replace(base, **changed)
        config: Any = getattr(base, table)
        number = int(value) if isinstance(getattr(config, key), int) else value
        changed = {table: replace(config, **{key: number})}
        return replace(base, **changed)

    def __post_init__(self) -> None:
        table, _, key = self.setting.rpartition(".")
        owner = getattr(self, table, None) if table else Arm(name="")
        if owner is None or not hasattr(owner, key):
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
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    for text in overrides:
        override(table, text)
    return toml.build(EvaluationConfig, table, file=str(path))


def quick(config: EvaluationConfig) -> EvaluationConfig:
    """The same arms on few prompts: minutes instead of hours, with wide intervals."""
    return replace(config, prompts=replace(config.prompts, per_set=4, open=6), output=f"{config.output}-quick")
