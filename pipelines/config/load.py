"""A TOML file becomes one frozen `RunConfig`. Importable without torch or ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from models.interventions.registry import registered
from models.loading.dtype import resolved
from pipelines.config import plugins, toml
from pipelines.config.arms import Arm, read_arms, read_interventions, take
from pipelines.config.recommended import settings_of_table
from pipelines.config.run import RunConfig
from pipelines.dataset import schema
from pipelines.errors import UserError


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in the TOML file `path`, with `key.sub=value` overrides (values in TOML; bare words are text)."""
    table = toml.read(path)
    for text in overrides:
        toml.override(table, text)
    return build(table, file=str(path))


def build(table: Mapping[str, Any], *, file: str) -> RunConfig:
    """The config of a TOML table. Its plugins are imported: what they register may be named in it."""
    _load_plugins(table.get("run"), file)
    known = settings_of_table(table.get("model")).recommended
    rest, tables = take(table)
    if isinstance(own := rest.get("sampling", {}), Mapping):
        rest["sampling"] = {**known.sampling, **own}
    interventions = read_interventions(tables, known, file=file)
    arms = read_arms(rest.pop("arms", None), interventions, file=file)
    given = {"interventions": interventions, "arms": arms, "recommended": known, "carried": ()}
    config = toml.build(RunConfig, rest, file=file, given=given, hints=[*interventions, "arms"])
    return replace(config, model=resolved(config.model, gpus=config.ray.on_gpus))


def _load_plugins(run: Any, file: str) -> None:
    named = run.get("plugins", []) if isinstance(run, Mapping) else []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise toml.wrong(file, "run.plugins", named, "an array of module names")
    plugins.load(named)
    taken = {f.name for f in fields(RunConfig)} | {f.name for f in fields(Arm)}
    taken |= {*schema.plan([]).names, *schema.scored(1, images=schema.generated([])).names}
    if clash := sorted(taken.intersection(entry.name for entry in registered())):
        raise UserError(
            f"run.plugins: the intervention {clash[0]!r} has the name of a table of the config, or of a column; "
            "register it under another one"
        )
