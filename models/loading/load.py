"""Loads a diffusers pipeline from a folder or a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from models.errors import ModelError
from models.loading.revision import folder_revision
from models.spec import ModelSpec


def load(spec: ModelSpec) -> Any:
    """The diffusers pipeline of a model, on the CPU and in its dtype.

    Raises:
        ModelError: when there is no such pipeline, or a folder holds another revision than the one asked for.
    """
    local = Path(spec.path).exists()
    if not local and (spec.path.startswith((".", "/", "~")) or spec.path.count("/") != 1):
        raise ModelError(f"model.path = {spec.path!r}: no such folder, and a hub id has the form owner/name")
    if local and spec.revision and (found := folder_revision(Path(spec.path))) != spec.revision:
        raise ModelError(f"model.path = {spec.path!r} holds {found} here, but the run was planned with {spec.revision}")
    try:
        revision = None if local else spec.revision or None
        index = DiffusionPipeline.load_config(spec.path, revision=revision)
        # diffusers needs the components that the pipeline was saved without (SD3 without T5) as arguments.
        absent = {name: None for name, entry in index.items() if entry == [None, None]}
        return DiffusionPipeline.from_pretrained(
            spec.path, revision=revision, dtype=getattr(torch, spec.dtype), **absent
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"model.path = {spec.path!r} cannot be loaded as a diffusers pipeline (diffusers {diffusers.__version__}): "
            f"{error}"
        ) from error
