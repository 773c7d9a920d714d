"""Which settings make a run the run that it is: its fingerprint covers them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from models.spec import PLACES
from pipelines.config.run import RunConfig
from pipelines.config.scorers import PLACES as SCORER_PLACES
from pipelines.dataset import schema
from pipelines.prompts.columns import NONE, PICTURES, SETTINGS
from pipelines.prompts.expansion.config import PLACES as EXPAND_PLACES


def fingerprint(config: RunConfig) -> str:
    """64 hex digits over the row schema's version and all settings that change rows (not places, names or workers)."""
    return fingerprint_of(config.to_dict())


def fingerprint_of(config: Mapping[str, Any]) -> str:
    """The fingerprint of the config that is as `RunConfig.to_dict()` gives it."""
    text = json.dumps(identity(config), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `RunConfig.to_dict()` that the fingerprint covers. A damaged config has an identity of its own."""
    covered = _without(without_later_defaults(config), _NOT_IDENTITY)
    if isinstance(sampling := covered.get("sampling"), Mapping) and not _pictured(config):
        covered["sampling"] = {name: value for name, value in sampling.items() if name != "denoising_strength"}
    if isinstance(run := covered.get("run"), Mapping):
        covered["run"] = {"seed": run.get("seed")}
    return {"schema_version": schema.VERSION, **covered}


def _pictured(config: Mapping[str, Any]) -> bool:
    prompts = config.get("prompts")
    columns = prompts.get("columns") if isinstance(prompts, Mapping) else None
    return isinstance(columns, Mapping) and columns.get("source_image", "") not in ("", NONE)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `RunConfig.to_dict()` that says what is made, and not on which machines and where they have it."""
    return _without(config, _PLACES)


def _without(config: Mapping[str, Any], left_out: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """A config without [ray], and without some settings of its tables."""

    def part(name: str, table: Any) -> Any:
        if isinstance(table, list):
            return [part(name, item) for item in table]
        if not isinstance(table, Mapping):
            return table
        return {key: part(f"{name}.{key}", value) for key, value in table.items() if key not in left_out.get(name, ())}

    return {name: part(name, table) for name, table in config.items() if name != "ray"}


_PLACES: dict[str, Collection[str]] = {
    "run": ("output",),
    "prompts": ("path", "picture_folders"),
    "prompts.expand": EXPAND_PLACES,
    "model": PLACES,
    "scorers.options": SCORER_PLACES,
}
"""Table -> its settings that `without_places` leaves out."""

_NOT_IDENTITY = {
    **_PLACES,
    # What may grow: the plan checks that nothing of it goes away, and group ids and seeds name each addition.
    "prompts": (*_PLACES["prompts"], "format", "limit", "template"),
    "group": ("groups_per_prompt",),
    "quota": ("accepted", "most_groups"),
}
"""Table -> its settings that the fingerprint leaves out; of [run] it has the seed alone."""

ADDED_LATER: dict[str, Any] = {
    "prompts.encoding": "auto",
    "prompts.expand": None,
    "scorers": [],
    "quota": None,
    "scoring.kind": "open_clip",
    "scoring.options": {},
    "scoring.frames": 8,
    "selection.rank_by": "",
    "selection.limits": [],
    "selection.accept": "",
    "tora.encoders": "together",
    "tora.refresh_steps": 1,
    "output.video_format": "webp",
    "output.fps": 0,
    "prompts.carry": [],
    "tora.lag_steps": 0,
    "repulsion.vary_words": "",
    "repulsion.keep_words": "",
    "sampling.sigmas": [],
    "model.variant": "",
    "model.drop": [],
    "model.scheduler": "",
    "model.shift": 0.0,
    "model.loras": [],
    "model.quantize": [],
    "model.transformer_file": "",
    "model.transformer_file_revision": "",
    **{f"columns.{name}": "" for name in (*SETTINGS, *PICTURES)},
}
"""Settings that did not exist at first -> the value that stands for how it was without them. "table", or "table.key",
which of an array of tables is that key of each, and of an arm's own settings of an intervention that of its table."""


def without_later_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of plain values without the settings of `ADDED_LATER` that change nothing: fingerprints, ids of groups
    and records of scores that were made before there were these settings are equal to those made since."""

    def known(name: str, value: Any) -> bool:
        return name not in ADDED_LATER or value != ADDED_LATER[name]

    def old(table: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: old(key, item) for key, item in value.items() if known(f"{table}.{key}", item)}
        return [old(table, item) for item in value] if isinstance(value, list) else value

    return {name: old(name, value) for name, value in config.items() if known(name, value)}
