"""What can be known to be wrong before any model is loaded or any worker started."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from models.loading.revision import folder_revision, hub_commit
from pipelines.config.run import RunConfig
from pipelines.config.tables import Scoring
from pipelines.errors import UserError
from pipelines.plan.shard_size import groups_per_prompt, prompts_per_shard, raw_image_bytes

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LOCAL_DIR = "local-dir:"
_MAX_SHARD_BYTES = 1 << 31
"""A column of one Arrow array cannot hold more bytes than this."""


def check(config: RunConfig) -> RunConfig:
    """The config with the revisions of local model folders and the commits of hub models filled in.

    Raises UserError for an unknown model or scorer, and for shards that no worker could hold.
    """
    _check_model(config.model.path)
    config = replace(config, scoring=scorer(config.scoring))
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


def scorer(scoring: Scoring) -> Scoring:
    """`scoring` with the revision of a local folder filled in. Raises UserError for an unknown scorer."""
    _check_scorer(scoring.model)
    if not scoring.model.startswith(_LOCAL_DIR):
        return scoring
    return replace(scoring, revision=folder_revision(Path(scoring.model.removeprefix(_LOCAL_DIR))))


def _check_model(path: str) -> None:
    folder = Path(path)
    if folder.exists():
        try:
            json.loads((folder / "model_index.json").read_bytes())["_class_name"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"model.path = {path!r} has no readable model_index.json, so it is not a diffusers pipeline folder"
            ) from error
        return
    if not _HUB_ID.fullmatch(path):
        raise UserError(f"model.path = {path!r}: there is no such folder, and it is not a hub id such as 'owner/name'")


def _check_scorer(model: str) -> None:
    if model.startswith(_LOCAL_DIR):
        folder = model.removeprefix(_LOCAL_DIR)
        if not Path(folder).is_dir():
            raise UserError(f"scoring.model = {model!r}: there is no folder {folder!r}")
    elif not model.startswith("hf-hub:") and (names := _open_clip_names()) and model.replace("/", "-") not in names:
        near = difflib.get_close_matches(model, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"scoring.model = {model!r}: open_clip has no such model{hint}")


def _open_clip_names() -> list[str]:
    """Names of open_clip's models, read from its folder: importing it would load torch."""
    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec else None
    return sorted(file.stem for folder in folders or () for file in Path(folder, "model_configs").glob("*.json"))
