"""The settings of a run: a TOML file becomes one frozen `RunConfig`. Importable without torch or ray."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.checkpoints import CHECKPOINTS
from models.spec import PLACES, ModelSpec, RepulsionConfig, Sampling, ToraConfig
from pipelines.config import toml
from pipelines.config.tables import Arm, GroupSize, Output, RayOptions, Run, Scoring, Selection
from pipelines.config.toml import override
from pipelines.dataset import schema
from pipelines.errors import UserError, require
from pipelines.prompts.config import Prompts


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything about a run. One field is one table of the TOML file."""

    run: Run
    prompts: Prompts
    model: ModelSpec
    scoring: Scoring
    sampling: Sampling = field(default_factory=Sampling)
    group: GroupSize = field(default_factory=GroupSize)
    tora: ToraConfig = field(default_factory=ToraConfig)
    repulsion: RepulsionConfig = field(default_factory=RepulsionConfig)
    arms: tuple[Arm, ...] = (Arm(name="both", tora=True, repulsion=True),)
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
        return {name: _plain(table) for name, table in asdict(self).items()}


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in the TOML file `path`, with `key.sub=value` overrides (values in TOML; bare words are text)."""
    file = str(path)
    try:
        table = tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read the config {file}: {error.strerror}. Give --config an existing TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None
    for text in overrides:
        override(table, text)
    return toml.build(RunConfig, _as_the_model_is_made_for(table), file=file)


def _as_the_model_is_made_for(table: dict[str, Any]) -> dict[str, Any]:
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
