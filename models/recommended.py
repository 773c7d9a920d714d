"""The settings that a model is run with where nobody says otherwise. The job, the endpoint, evaluations and the dry run
all ask here. Importable without torch.

A checkpoint is known by, in this order: a file `NAME.toml` beside its folder `NAME`, with tables [sampling], [tora],
[repulsion] ... that somebody measured on it; its hub id; a local folder whose configs have the shape of a published
checkpoint (a copy or a fine-tune of it); the pipeline class of a local folder. Anything else gets the papers' form.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.checkpoints import CHECKPOINTS, RENAMED, Checkpoint, Shape, repulsion_strength
from models.errors import ModelError

_MODEL_INDEX, _TRANSFORMER = "model_index.json", "transformer/config.json"


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """Settings for a model, which the user's own go before."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `models.spec.Sampling`."""
    interventions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> fields of its settings."""
    source: str
    """Where they come from, in words."""
    warning: str = ""
    """What a person should know before relying on them; "" where they were made for this very model."""


UNKNOWN = Recommended(source="the papers' form")


def recommended(path: str) -> Recommended:
    """The settings for a model. path: a pipeline folder or a hub id, as `model.path`.

    Raises:
        ModelError: the file beside the folder, or a config in it, cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        return _of_hub_id(path)
    own = folder.parent / f"{folder.name}.toml"
    if own.is_file():
        return _of_file(own)
    shape = shape_of(folder)
    return _unknown(path) if shape is None else _of_shape(path, shape)


def shape_of(folder: Path) -> Shape | None:
    """The shape of the pipeline in a folder; None where it is no pipeline with a transformer.

    Raises:
        ModelError: a config is not valid JSON.
    """
    index, transformer = (_json(folder / name) for name in (_MODEL_INDEX, _TRANSFORMER))
    if not index or not transformer:
        return None
    heads, dimension = transformer.get("num_attention_heads", 0), transformer.get("attention_head_dim", 0)
    return Shape(
        pipeline=str(index.get("_class_name")),
        layers=int(transformer.get("num_layers", 0)),
        single_layers=int(transformer.get("num_single_layers", 0)),
        width=int(heads) * int(dimension),
        guidance_embeds=bool(transformer.get("guidance_embeds")),
        distilled=bool(index.get("is_distilled") or transformer.get("use_meanflow")),
    )


def _of_hub_id(path: str) -> Recommended:
    name = RENAMED.get(path, path)
    known = CHECKPOINTS.get(name)
    return _unknown(path) if known is None else _of_checkpoint(name, known)


def _of_checkpoint(name: str, known: Checkpoint, warning: str = "") -> Recommended:
    return Recommended(sampling=known.sampling, interventions=known.interventions, source=name, warning=warning)


def _of_shape(path: str, shape: Shape) -> Recommended:
    alike = {name: known for name, known in CHECKPOINTS.items() if known.shape == shape}
    if not alike:
        return _of_family(path, shape)
    named = [name for name in alike if _plain(name.split("/")[-1]) in _plain(path)]
    if named:
        name = max(named, key=len)  # "large-turbo" holds "large"
        return _of_checkpoint(name, alike[name])
    name = next(iter(alike))
    others = [other for other in alike if other != name]
    doubt = f"; it could also be {' or '.join(others)}, which has other settings: say [sampling]" if others else ""
    return _of_checkpoint(name, alike[name], f"model.path = {path!r} looks like {name}{doubt}")


def _of_family(path: str, shape: Shape) -> Recommended:
    """The papers' form at this depth, and the sampling of a published checkpoint of the same pipeline class."""
    sibling = next((name for name, known in CHECKPOINTS.items() if known.shape.pipeline == shape.pipeline), None)
    repulsion = {"strength": repulsion_strength(shape.blocks)} if shape.blocks else {}
    like = {} if sibling is None else CHECKPOINTS[sibling].sampling
    told = f" and the sampling of {sibling}" if sibling else ""
    return Recommended(
        sampling=like,
        interventions={"repulsion": repulsion},
        source=f"the papers' form for {shape.blocks} blocks{told}",
        warning=f"model.path = {path!r} is of no published shape: it gets the papers' form{told}; {_ADVICE}",
    )


_ADVICE = "say [sampling], [tora] and [repulsion] as its card and your own trials do"


def _unknown(path: str) -> Recommended:
    return Recommended(
        source="the papers' form",
        warning=f"model.path = {path!r} is not in models/checkpoints.py: it gets the papers' form; {_ADVICE}",
    )


def _of_file(file: Path) -> Recommended:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise ModelError(f"{file}: {wrong[0]} is no table; it holds [sampling] and tables of interventions")
    sampling = tables.pop("sampling", {})
    return Recommended(sampling=sampling, interventions=tables, source=str(file))


def _json(file: Path) -> dict[str, Any]:
    """{} where there is no such file."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _plain(name: str) -> str:
    """Letters and digits alone, as a cache's folder names differ from hub ids in the rest."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
