"""Checks a config before any model is loaded or any worker starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.loading.revision import folder_revision, hub_commit
from pipelines.cluster.address import address_of
from pipelines.config.model_path import check_model
from pipelines.config.run import RunConfig
from pipelines.config.scorers import checked
from pipelines.errors import UserError
from pipelines.plan.shard_size import groups_per_prompt, prompts_per_shard, raw_image_bytes

_MAX_SHARD_BYTES = 1 << 31
"""Most bytes that one Arrow array of binary values can hold."""


def check(config: RunConfig) -> RunConfig:
    """The config with the revisions of local model folders and the commits of hub models filled in.

    Raises:
        UserError: when the model, a scorer or the form of the Ray cluster's address is unknown, or a shard could be too
            large for a worker.
    """
    address_of(config.ray)
    check_model(config.model.path)
    further = tuple(checked(one, f"scorers.{one.name}") for one in config.scorers)
    config = replace(config, scoring=checked(config.scoring), scorers=further)
    groups = prompts_per_shard(config) * groups_per_prompt(config)
    group_bytes = config.group.size * raw_image_bytes(config)
    if groups * group_bytes > _MAX_SHARD_BYTES:
        fitting = _MAX_SHARD_BYTES // group_bytes
        raise UserError(
            f"output.groups_per_shard = {config.output.groups_per_shard}: a shard of {config.group.size} images of "
            f"{config.sampling.width} x {config.sampling.height} per group could exceed 2 GiB; use {fitting} or fewer"
        )
    return _with_revision(config)


def _with_revision(config: RunConfig) -> RunConfig:
    model = Path(config.model.path)
    revision = folder_revision(model) if model.exists() else hub_commit(config.model.path, config.model.revision)
    return replace(config, model=replace(config.model, revision=revision))
