"""The settings of a run: a TOML file becomes one frozen `RunConfig`. Importable without torch or ray."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.checkpoints import CHECKPOINTS
from models.spec import PLACES, ModelSpec, Sampling
from pipelines.config import plugins, toml
from pipelines.config.arms import Arm, Interventions, defaults, read_arms, read_interventions, tables_of, take
from pipelines.config.tables import GroupSize, Output, Prompts, RayOptions, Run, Scoring, Selection, require
from pipelines.dataset import schema


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything about a run. One field is one table of the TOML file."""

    run: Run
    prompts: Prompts
    model: ModelSpec
    scoring: Scoring
    sampling: Sampling = field(default_factory=Sampling)
    group: GroupSize = field(default_factory=GroupSize)
    interventions: Interventions = field(default_factory=defaults)
    """In the file each has a table of its own name, such as [tora]."""
    arms: tuple[Arm, ...] = ()
    selection: Selection = field(default_factory=Selection)
    output: Output = field(default_factory=Output)
    ray: RayOptions = field(default_factory=RayOptions)

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        require(bool(names) and len(set(names)) == len(names), "arms", names, "needs one arm or more, each name once")
        alone = self.ray.gpus_per_replica == 1
        require(alone or not self.model.compile, "model.compile", True, "needs ray.gpus_per_replica = 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json; -inf, which JSON lacks, as text."""
        tables: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            if name == "interventions":
                tables |= tables_of(self.interventions, self.arms)
            elif name != "arms":
                tables[name] = asdict(getattr(self, name))
        return {name: _plain(table) for name, table in tables.items()}


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in the TOML file `path`, with `key.sub=value` overrides (values in TOML; bare words are text)."""
    table = toml.read(path)
    for text in overrides:
        toml.override(table, text)
    return build(table, file=str(path))


def build(table: Mapping[str, Any], *, file: str) -> RunConfig:
    """The config of a TOML table. Its plugins are imported: what they register may be named in it."""
    _load_plugins(table.get("run"), file)
    rest, tables = take(_as_the_model_is_made_for(table))
    interventions = read_interventions(tables, file=file)
    arms = read_arms(rest.pop("arms", None), interventions, file=file)
    given = {"interventions": interventions, "arms": arms}
    return toml.build(RunConfig, rest, file=file, given=given, hints=[*interventions, "arms"])


def _load_plugins(run: Any, file: str) -> None:
    named = run.get("plugins", []) if isinstance(run, Mapping) else []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise toml.wrong(file, "run.plugins", named, "an array of module names")
    plugins.load(named)


def _as_the_model_is_made_for(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """`table` with the model's own sampling where the model is a known one and the config does not say otherwise."""
    model, sampling = table.get("model"), table.get("sampling", {})
    if isinstance(model, dict) and isinstance(sampling, dict) and (known := CHECKPOINTS.get(str(model.get("path")))):
        return {**table, "sampling": {**known.sampling, **sampling}}
    return table


def fingerprint(config: RunConfig) -> str:
    """64 hex digits over the row schema's version and all settings that change rows (not places, names or workers)."""
    text = json.dumps(identity(config.to_dict()), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `RunConfig.to_dict()` that the fingerprint covers."""
    covered = {name: table for name, table in config.items() if name != "ray"}
    covered["run"] = {"seed": config["run"]["seed"]}
    covered["model"] = {k: v for k, v in config["model"].items() if k not in PLACES}
    # What may grow: the plan checks that nothing of it goes away, and group ids and seeds name each addition.
    covered["prompts"] = {k: v for k, v in config["prompts"].items() if k not in ("path", "format", "limit")}
    covered["group"] = {key: value for key, value in config["group"].items() if key != "groups_per_prompt"}
    return {"schema_version": schema.VERSION, **covered}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
