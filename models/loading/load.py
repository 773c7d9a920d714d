"""Loads a diffusers pipeline from a folder or a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from models.errors import ModelError
from models.families import family_named
from models.families.base import Family
from models.loading.adapters import load_loras
from models.loading.packages import require_packages
from models.loading.quantize import quantization, transformer_of_file
from models.loading.revision import folder_revision
from models.loading.sampler import sampler_of
from models.spec import ModelSpec


def load(spec: ModelSpec) -> Any:
    """The diffusers pipeline of a model, on the CPU and in its dtype, with the sampler that it is run with.

    spec: which model; its dtype is named (`models.loading.dtype.resolved`).

    Raises:
        ModelError: when there is no such pipeline, its class belongs to no family, a folder holds another revision than
            the one asked for, a setting does not fit the family, or a package that it needs is missing.
    """
    require_packages(spec)
    local = Path(spec.path).exists()
    if not local and (spec.path.startswith((".", "/", "~")) or spec.path.count("/") != 1):
        raise ModelError(f"model.path = {spec.path!r}: no such folder, and a hub id has the form owner/name")
    if local and spec.revision and (found := folder_revision(Path(spec.path))) != spec.revision:
        raise ModelError(f"model.path = {spec.path!r} holds {found} here, but the run was planned with {spec.revision}")
    revision = None if local else spec.revision or None
    with _named(spec):
        index = DiffusionPipeline.load_config(spec.path, revision=revision)
        kind = index["_class_name"]
    family = family_named(kind)
    dropped = _dropped(spec, family)
    # diffusers needs the components that the pipeline was saved without (SD3 without T5) as arguments.
    absent = [name for name, entry in index.items() if entry == [None, None]]
    with _named(spec):
        given = {"transformer": transformer_of_file(spec, family)} if spec.transformer_file else {}
        pipe = DiffusionPipeline.from_pretrained(
            spec.path,
            revision=revision,
            variant=spec.variant or None,
            dtype=getattr(torch, spec.dtype),
            quantization_config=quantization(spec, index),
            **dict.fromkeys([*absent, *dropped]),
            **given,
        )
    pipe.scheduler = sampler_of(pipe.scheduler, family, spec)
    load_loras(pipe, spec.loras)
    return pipe


def _dropped(spec: ModelSpec, family: Family) -> list[str]:
    """The components that are not loaded."""
    for part in spec.drop:
        if part not in family.optional:
            known = ", ".join(family.optional) or "none"
            raise ModelError(f"model.drop = {part!r}: {family.name} does not run without it; it runs without: {known}")
    return [name for part in spec.drop for name in (part, *family.optional[part])]


@contextmanager
def _named(spec: ModelSpec) -> Iterator[None]:
    """Errors of diffusers, with the setting that is at fault."""
    try:
        yield
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"model.path = {spec.path!r} cannot be loaded as a diffusers pipeline (diffusers {diffusers.__version__}): "
            f"{error}"
        ) from error
