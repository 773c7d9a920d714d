"""Checks a config before any model is loaded or any worker starts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from models.errors import ModelError, did_you_mean
from models.loading.packages import require_packages
from models.loading.revision import pinned
from models.scorers import registry
from models.scorers.base import ScorerSpec
from models.spec import Lora, ModelSpec
from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.plan.shard_size import groups_per_prompt, prompts_per_shard, raw_image_bytes

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
S = TypeVar("S", bound=ScorerSpec)
_MAX_SHARD_BYTES = 1 << 31
"""Most bytes that one Arrow array of binary values can hold."""


def check(config: RunConfig) -> RunConfig:
    """The config with the revisions of local model folders and the commits of hub models filled in.

    Raises:
        UserError: when the model or a scorer is unknown, or a shard could be too large for a worker.
    """
    _check_model(config.model)
    further = tuple(scorer(one, f"scorers.{one.name}") for one in config.scorers)
    config = replace(config, scoring=scorer(config.scoring), scorers=further)
    groups = prompts_per_shard(config) * groups_per_prompt(config)
    group_bytes = config.group.size * raw_image_bytes(config)
    if groups * group_bytes > _MAX_SHARD_BYTES:
        fitting = _MAX_SHARD_BYTES // group_bytes
        raise UserError(
            f"output.groups_per_shard = {config.output.groups_per_shard}: a shard of {config.group.size} images of "
            f"{config.sampling.width} x {config.sampling.height} per group could exceed 2 GiB; use {fitting} or fewer"
        )
    return replace(config, model=pinned(config.model))


def scorer(spec: S, table: str = "scoring") -> S:
    """A scorer's settings with the revision filled in, where its kind can tell.

    spec: the settings.
    table: their table in the config, for messages.

    Raises:
        UserError: when the kind finds a setting wrong.
    """
    entry = registry.entry_of(spec.kind)
    try:
        entry.check(spec)
        return replace(spec, revision=entry.revision(spec))
    except ModelError as error:
        raise UserError(f"{table}.{error}") from error


def _check_model(model: ModelSpec) -> None:
    try:
        require_packages(model)
    except ModelError as error:
        raise UserError(str(error)) from error
    if model.transformer_file and not Path(model.transformer_file).is_file():
        raise UserError(
            f"model.transformer_file = {model.transformer_file!r}: there is no such file; download it first"
        )
    for lora in model.loras:
        _check_lora(lora)
    path, folder = model.path, Path(model.path)
    if folder.exists():
        try:
            index = json.loads((folder / "model_index.json").read_bytes())
            index["_class_name"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"model.path = {path!r} has no readable model_index.json, so it is not a diffusers pipeline folder"
            ) from error
        named = [("drop", part) for part in model.drop] + [("quantize", one.part) for one in model.quantize]
        for key, part in named:
            if part not in index:
                parts = [name for name in index if not name.startswith("_")]
                raise UserError(f"model.{key} = {part!r}: {path} has no such part{did_you_mean(part, parts)}")
        return
    if not _HUB_ID.fullmatch(path):
        raise UserError(f"model.path = {path!r}: there is no such folder, and it is not a hub id such as 'owner/name'")


def _check_lora(lora: Lora) -> None:
    at, key = Path(lora.path), f"model.loras.{lora.name}"
    if not at.exists() and not _HUB_ID.fullmatch(lora.path):
        raise UserError(f"{key}.path = {lora.path!r}: there is no such file or folder, and it is not a hub id")
    if at.is_dir() and lora.weight_name and not (at / lora.weight_name).is_file():
        raise UserError(f"{key}.weight_name = {lora.weight_name!r}: {lora.path} has no such file")
