"""Checks a config before any model is loaded or any worker starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.errors import ModelError, did_you_mean
from models.loading.packages import require_packages
from models.loading.revision import pinned
from models.spec import Lora, ModelSpec
from pipelines.cluster.address import address_of
from pipelines.config import arms
from pipelines.config.model_path import HUB_ID, check_model
from pipelines.config.run import RunConfig
from pipelines.config.scorers import checked
from pipelines.dataset import mp4, schema
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import check_readable
from pipelines.errors import UserError
from pipelines.export import sources
from pipelines.export.formats import OWN_COLUMNS
from pipelines.plan.shard_size import MOST_SHARD_BYTES, groups_per_prompt, most_file_bytes, prompts_per_shard
from pipelines.prompts import carry


def check(config: RunConfig) -> RunConfig:
    """The config with the revisions of local model folders, the commits of hub models and the columns that
    `prompts.carry` stands for filled in.

    Raises:
        UserError: when the model, a scorer or the form of the Ray cluster's address is unknown, a shard could be too
            large for a worker, or readers would not find what lies in the output.
    """
    check_readable(Storage.open(config.run.output).uri, "run.output")
    address_of(config.ray)
    if config.output.video_format == "mp4":
        mp4.require("output.video_format = 'mp4'")
    _check_loading(config.model, check_model(config.model.path))
    further = tuple(checked(one, f"scorers.{one.name}") for one in config.scorers)
    config = replace(config, scoring=checked(config.scoring), scorers=further)
    groups = prompts_per_shard(config) * groups_per_prompt(config)
    group_bytes = config.group.size * most_file_bytes(config)
    if groups * group_bytes > MOST_SHARD_BYTES:
        raise UserError(_too_large(config, groups, MOST_SHARD_BYTES // group_bytes))
    config = replace(config, carried=carry.discover(config.prompts, _taken(config)))
    try:
        return replace(config, model=pinned(config.model))
    except (OSError, ValueError) as error:  # a file that cannot be read, a hub id that cannot be
        raise UserError(f"model.path = {config.model.path!r}: {error}") from error


def _too_large(config: RunConfig, groups: int, fitting: int) -> str:
    at, size = config.sampling, config.group.size
    each = f"{at.width} x {at.height}" + (f" x {at.frames} frames" if config.videos else "")
    if groups > groups_per_prompt(config):
        asked = f"output.groups_per_shard = {config.output.groups_per_shard}: a shard of {size} images of {each}"
        return f"{asked} per group could exceed 2 GiB; use {fitting} or fewer"
    smaller = "a smaller group.size, fewer arms" + (", or output.video_format = 'mp4'" if config.videos else "")
    return f"a prompt's {groups} groups of {size} of {each}, which lie in one file, could exceed 2 GiB: use {smaller}"


def _taken(config: RunConfig) -> set[str]:
    """Names that columns have in rows or in exports, or may have for a row to be read as this project reads it."""
    own = replace(config, carried=()).columns(1).names
    pictures = sources.names() if config.prompts.columns.pictured else []
    return {*own, *schema.plan([]).names, *schema.FAILED.names, *arms.names(), *OWN_COLUMNS, *pictures}


def _check_loading(model: ModelSpec, parts: Sequence[str] | None) -> None:
    """What else is loaded with the model, and which of its parts, where these are known, the settings name."""
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
    for key, part in [("drop", part) for part in model.drop] + [("quantize", one.part) for one in model.quantize]:
        if parts is not None and part not in parts:
            raise UserError(f"model.{key} = {part!r}: {model.path} has no such part{did_you_mean(part, parts)}")


def _check_lora(lora: Lora) -> None:
    at, key = Path(lora.path), f"model.loras.{lora.name}"
    if not at.exists() and not HUB_ID.fullmatch(lora.path):
        raise UserError(f"{key}.path = {lora.path!r}: there is no such file or folder, and it is not a hub id")
    if at.is_dir() and lora.weight_name and not (at / lora.weight_name).is_file():
        raise UserError(f"{key}.weight_name = {lora.weight_name!r}: {lora.path} has no such file")
