"""Arms, and the tables of interventions that they name. Every registered intervention may have a table of the run, such
as [tora], and a key in an arm: `true` takes the run's table, a table overrides single settings of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, TypeVar

from models.errors import require
from models.interventions.registry import entry_of, find, in_order, registered
from models.recommended import Recommended
from models.spec import InterventionConfig, Lora, ModelSpec
from pipelines.config import toml
from pipelines.config.arm_sampling import ArmSampling

T = TypeVar("T")

Interventions = Mapping[str, InterventionConfig]
"""Name of every registered intervention -> the run's settings of it."""


@dataclass(frozen=True, kw_only=True)
class ArmLora:
    """A LoRA that acts in an arm."""

    name: str
    """In [[model.loras]]."""
    scale: float | None = None
    """In place of the model's; None keeps that."""


class WithLoras(Protocol):
    """An arm of a run or of an experiment."""

    @property
    def name(self) -> str: ...
    @property
    def loras(self) -> tuple[ArmLora, ...] | None: ...


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make every prompt. Arms share their seeds, so images can be compared."""

    name: str
    """Unique in the run."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Settings of those that act, in the order in which they act."""
    loras: tuple[ArmLora, ...] | None = None
    """LoRAs that act, in the file by name or as tables with a name and a scale; None is all of the model's."""
    sampling: ArmSampling = field(default_factory=ArmSampling)
    """Settings of [sampling] that are others in this arm."""
    group_size: int = 0
    """Images of a group, in a run with quotas; 0 is `group.size`, which is the most."""

    def __post_init__(self) -> None:
        require(bool(self.name.strip()), "name", self.name, "needs a name")
        require(self.group_size >= 0, "group_size", self.group_size, "needs 1 or more, or 0 for that of the run")


_DEFAULT_ARMS = ({"name": "both", "tora": True, "repulsion": True},)


def names() -> list[str]:
    """The names of all registered interventions."""
    return [entry.name for entry in registered()]


def take(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A table without the keys that name interventions, and a table of those keys."""
    known = set(names())
    rest = {key: value for key, value in table.items() if key not in known}
    return rest, {key: value for key, value in table.items() if key in known}


def defaults(recommended: Recommended) -> Interventions:
    """The settings of a run that says nothing of them: those that are recommended for its model."""
    return read_interventions({}, recommended, file="")


def read_interventions(tables: Mapping[str, Any], recommended: Recommended, *, file: str) -> Interventions:
    """The run's settings of every registered intervention.

    tables: name -> table of the file; what it does not say is as recommended.
    recommended: for the run's model.
    file: for messages.

    Raises:
        UserError: when a table does not fit.
    """
    read = {}
    for entry in registered():
        table = tables.get(entry.name, {})
        known = recommended.interventions.get(entry.name, {})
        merged = {**known, **table} if isinstance(table, Mapping) else table
        read[entry.name] = toml.build(entry.config, merged, file=file, at=entry.name)
    return read


def read_arms(arms: Any, settings: Interventions, *, file: str) -> tuple[Arm, ...]:
    """The arms of a run.

    arms: the value of the key `arms`; None, where the file has none, is one arm with TORA and repulsion.
    settings: the run's settings of the interventions.
    file: for messages.

    Raises:
        UserError: when the value is not an array of tables, or a table does not fit.
    """
    arms = _DEFAULT_ARMS if arms is None else arms
    if not isinstance(arms, Sequence) or not all(isinstance(arm, Mapping) for arm in arms):
        raise toml.wrong(file, "arms", arms, "an array of tables ([[arms]])")
    return tuple(_arm(arm, settings, file, f"arms[{number}]") for number, arm in enumerate(arms))


def _arm(table: Mapping[str, Any], settings: Interventions, file: str, at: str) -> Arm:
    rest, asked = take(table)
    given = {"interventions": chosen(asked, settings, file=file, at=at)}
    return toml.build(Arm, _with_lora_tables(rest), file=file, at=at, given=given, hints=names())


def _with_lora_tables(arm: dict[str, Any]) -> dict[str, Any]:
    """The table of an arm in which LoRAs that stand by name are tables too."""
    if not isinstance(loras := arm.get("loras"), list):
        return arm
    return arm | {"loras": [{"name": lora} if isinstance(lora, str) else lora for lora in loras]}


def chosen(asked: Mapping[str, Any], settings: Interventions, *, file: str, at: str) -> tuple[InterventionConfig, ...]:
    """The settings of an arm's interventions, in the order in which they act.

    asked: name -> true, false, or a table with the settings that differ from `settings`.
    settings: the run's settings of the interventions.
    file, at: file and table, for messages.

    Raises:
        UserError: when a value is of another kind, or a table does not fit.
    """
    found = []
    for name, value in asked.items():
        entry = find(name)
        assert entry is not None
        if isinstance(value, Mapping):
            base = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings[name]).items()}
            found.append(toml.build(entry.config, base | dict(value), file=file, at=f"{at}.{name}"))
        elif not isinstance(value, bool):
            raise toml.wrong(file, f"{at}.{name}", value, "true, false or a table of its settings")
        elif value:
            found.append(settings[name])
    return in_order(found)


def build_each(kind: type[T], tables: Any, settings: Interventions, *, file: str, key: str) -> tuple[T, ...]:
    """Instances of a dataclass with a field `interventions`, from tables in which interventions are keys, as in arms.

    kind: the dataclass.
    tables: the value of a key of the file.
    settings: the run's settings of the interventions.
    file, key: file and key, for messages.

    Raises:
        UserError: when the value is not an array of tables, or a table does not fit.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise toml.wrong(file, key, tables, f"an array of tables ([[{key}]])")
    built = []
    for number, table in enumerate(tables):
        rest, asked = take(table)
        at = f"{key}[{number}]"
        given = {"interventions": chosen(asked, settings, file=file, at=at)}
        built.append(toml.build(kind, _with_lora_tables(rest), file=file, at=at, given=given, hints=names()))
    return tuple(built)


def loras_of(arm: WithLoras, model: ModelSpec) -> tuple[Lora, ...]:
    """The LoRAs that act in an arm, each at its scale there.

    arm: of a run, or of an experiment.
    model: that has them.

    Raises:
        ValueError: when the model has none of that name, or one is there twice.
    """
    if arm.loras is None:
        return model.loras
    known = {lora.name: lora for lora in model.loras}
    names = [lora.name for lora in arm.loras]
    rule = f"needs names of [[model.loras]], each once (there: {', '.join(known) or 'none'})"
    require({*names} <= {*known} and len({*names}) == len(names), f"arms.{arm.name}.loras", names, rule)
    changes: list[dict[str, Any]] = [{} if lora.scale is None else {"scale": lora.scale} for lora in arm.loras]
    return tuple(replace(known[name], **change) for name, change in zip(names, changes, strict=True))


def said(loras: Sequence[ArmLora]) -> list[Any]:
    """LoRAs of an arm as a file says them: by name, or as tables with a name and a scale."""
    return [lora.name if lora.scale is None else asdict(lora) for lora in loras]


def column_names(arms: Sequence[Arm]) -> list[str]:
    """The interventions with a column in the rows of a run: those `in_every_row`, and those that its arms use."""
    used = {entry_of(config).name for arm in arms for config in arm.interventions}
    return [entry.name for entry in registered() if entry.in_every_row or entry.name in used]


def tables_of(settings: Interventions, arms: Sequence[Arm]) -> dict[str, Any]:
    """The tables of a TOML file, as plain values, that give these settings and arms; all defaults are filled in."""
    columns = column_names(arms)
    return {
        **{name: asdict(settings[name]) for name in columns},
        "arms": [{"name": arm.name, **_loras(arm), **_said(arm), **_keys(arm, settings, columns)} for arm in arms],
    }


def _loras(arm: Arm) -> dict[str, Any]:
    return {} if arm.loras is None else {"loras": said(arm.loras)}


def _said(arm: Arm) -> dict[str, Any]:
    """What an arm says in place of the run's settings."""
    said = {"sampling": arm.sampling.given(), "group_size": arm.group_size}
    return {name: value for name, value in said.items() if value}


def _keys(arm: Arm, settings: Interventions, columns: Sequence[str]) -> dict[str, Any]:
    """An intervention that is off is `false` where its column is in every row, and left out otherwise."""
    on = {entry_of(config).name: config for config in arm.interventions}
    keys: dict[str, Any] = {}
    for entry in registered():
        if entry.name in on:
            keys[entry.name] = on[entry.name] == settings[entry.name] or asdict(on[entry.name])
        elif entry.in_every_row:
            keys[entry.name] = False
    return keys
