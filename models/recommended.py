"""The settings that a model is run with where nobody says otherwise. The job, the endpoint, evaluations and the dry run
all ask here. Importable without torch.

A checkpoint is known by its hub id, or as a local folder: by configs that have the shape of a published checkpoint (a
copy or a fine-tune of it), else by its pipeline class. Anything else gets the papers' form. Before all of these go, key
by key, the tables [sampling], [tora], [repulsion] ... that somebody measured on it, in a file `NAME.toml` beside its
folder `NAME`; and before these the tables beside its LoRAs, in `NAME.toml` beside the folder `NAME`, or beside
`NAME.safetensors` (in such a folder and on the hub too: `models/beside.py`), as one that distils the model wants other
steps, and other interventions, than the model.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.beside import Unreached, beside_lora, beside_model, names_of
from models.checkpoints import CHECKPOINTS, Checkpoint, Shape, named, repulsion_strength
from models.errors import ModelError
from models.spec import Lora

_MODEL_INDEX, _TRANSFORMER = "model_index.json", "transformer/config.json"


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """Settings for a model, which the user's own go before."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `models.spec.Sampling`."""
    interventions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> fields of its settings."""
    source: str
    """Where they come from, in words, but for those of `own`."""
    files: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """The files beside the model and its LoRAs, and their tables, as they have them: what of the settings above comes
    from there, later ones before earlier ones."""
    warning: str = ""
    """What a person should know before relying on them; "" where they were made for this very model."""

    def source_of(self, table: str, key: str) -> str:
        """Where one recommended setting comes from.

        table: "sampling", or the name of an intervention.
        key: the setting.
        """
        own = [file for file, tables in self.files.items() if key in tables.get(table, {})]
        return own[-1] if own else self.source


UNKNOWN = Recommended(source="the papers' form")


def recommended(path: str, loras: Sequence[Lora] = ()) -> Recommended:
    """The settings for a model.

    path: a pipeline folder or a hub id, as `model.path`.
    loras: its LoRAs.

    Raises:
        ModelError: a file beside the folder or a LoRA, or a config in the folder, cannot be read.
    """
    folder = Path(path)
    known = _of_folder(folder) if folder.is_dir() else _of_hub_id(path)
    beside, unreached = [beside_model(path)], []
    for lora in loras:
        try:
            beside.append(beside_lora(lora))
        except Unreached:
            unreached.append(lora.path)
    files = [file for file in beside if file]
    known = _with_files(known, files) if files else known
    return _doubted(known, unreached) if unreached else known


def shape_of(folder: Path) -> Shape | None:
    """The shape of the pipeline in a folder; None where it is no pipeline with a transformer.

    Raises:
        ModelError: a config is not valid JSON.
    """
    index, transformer = (_json(folder / name) for name in (_MODEL_INDEX, _TRANSFORMER))
    if not index or not transformer:
        return None

    def number(*keys: str) -> int:
        """The first of them that is there; 0 where none is."""
        return next((value for key in keys if type(value := transformer.get(key)) is int), 0)

    return Shape(
        pipeline=str(index.get("_class_name")),
        layers=number("num_layers", "num_mmdit_layers"),
        single_layers=number("num_single_layers", "num_single_dit_layers"),
        width=number("num_attention_heads") * number("attention_head_dim"),
        guidance_embeds=bool(transformer.get("guidance_embeds")),
        distilled=bool(index.get("is_distilled") or transformer.get("use_meanflow")),
    )


def _of_folder(folder: Path) -> Recommended:
    shape = shape_of(folder)
    return _unknown(str(folder)) if shape is None else _of_shape(folder, shape)


def _of_hub_id(path: str) -> Recommended:
    name = named(path)
    return _unknown(path, _DOWNLOADED) if name is None else _of_checkpoint(name, CHECKPOINTS[name])


def _of_checkpoint(name: str, known: Checkpoint, warning: str = "") -> Recommended:
    return Recommended(sampling=known.sampling, interventions=known.interventions, source=name, warning=warning)


def _names(folder: Path) -> list[str]:
    """The names of a folder, letters and digits alone: its own, and that of its repository in the hub's cache."""
    names = []
    for at in names_of(folder):
        cached = at.parent.name == "snapshots" and at.parent.parent.name.startswith("models--")
        names.append(at.parent.parent.name.split("--", 2)[-1] if cached else at.name)
    return [_plain(name) for name in names]


def _of_shape(folder: Path, shape: Shape) -> Recommended:
    alike = {name: known for name, known in CHECKPOINTS.items() if known.shape == shape}
    if not alike:
        return _of_family(folder, shape)
    called = _names(folder)
    for name in alike:
        if {_plain(name), _plain(name.split("/")[-1])} & {*called}:
            return _of_checkpoint(name, alike[name])
    like = [name for name in alike if any(_plain(name.split("/")[-1]) in one for one in called)]
    name = max(like, key=len) if like else next(iter(alike))  # "large-turbo" holds "large"
    others = [other for other in alike if _settings(alike[other]) != _settings(alike[name])]
    if others:
        doubt = f"it could also be {' or '.join(others)}, which has other settings: say [sampling]"
    else:
        doubt = "if it wants other settings, as a distilled copy does, say [sampling]"
    return _of_checkpoint(name, alike[name], f"model.path = {str(folder)!r} looks like {name}; {doubt}")


def _settings(known: Checkpoint) -> Any:
    return known.sampling, known.interventions


def _of_family(folder: Path, shape: Shape) -> Recommended:
    """The papers' form at this depth, with the sampling, and the steps of repulsion, of a published checkpoint of the
    same pipeline class, if there is one that is distilled in the same way."""
    family = [name for name, known in CHECKPOINTS.items() if known.shape.pipeline == shape.pipeline]
    sibling = max(family, key=lambda name: _distilled_alike(CHECKPOINTS[name].shape, shape), default=None)
    like = CHECKPOINTS[sibling] if sibling else None
    repulsion = {
        key: value for key, value in (like.interventions["repulsion"] if like else {}).items() if key != "strength"
    }
    if shape.blocks:
        repulsion["strength"] = repulsion_strength(shape.blocks)
    told = f" and the sampling of {sibling}" if sibling else ""
    return Recommended(
        sampling=like.sampling if like else {},
        interventions={"repulsion": repulsion},
        source=f"the papers' form for {shape.blocks or 'an unknown number of'} blocks{told}",
        warning=f"model.path = {str(folder)!r} is of no published shape: it gets the papers' form{told}; {_ADVICE}",
    )


def _distilled_alike(one: Shape, other: Shape) -> tuple[bool, bool]:
    return one.distilled == other.distilled, one.guidance_embeds == other.guidance_embeds


_ADVICE = "say [sampling], [tora] and [repulsion] as its card and your own trials do"
_DOWNLOADED = "; or give the folder of a download: a fine-tune is known by its configs"


def _unknown(path: str, more: str = "") -> Recommended:
    return Recommended(
        source="the papers' form",
        warning=f"model.path = {path!r} is not in models/checkpoints.py: it gets the papers' form; {_ADVICE}{more}",
    )


def _with_files(known: Recommended, files: Sequence[Path]) -> Recommended:
    """The tables of files before what is known without them, the last file's first. A warning stays for the tables that
    no file has."""
    own = {str(file): _tables(file) for file in files}
    merged = {name: dict(table) for name, table in known.interventions.items()}
    merged["sampling"] = dict(known.sampling)
    for tables in own.values():
        for name, table in tables.items():
            merged[name] = {**merged.get(name, {}), **table}
    guessed = dict.fromkeys(["sampling", "repulsion", *known.interventions])  # these depend on the model
    left = ", ".join(f"[{name}]" for name in guessed if not any(name in tables for tables in own.values()))
    return replace(
        known,
        sampling=merged.pop("sampling"),
        interventions=merged,
        files=own,
        warning=f"{known.warning} (not in {' or '.join(own)}: {left})" if known.warning and left else "",
    )


def _doubted(known: Recommended, loras: Sequence[str]) -> Recommended:
    doubt = (
        f"the hub does not answer, so that settings beside the LoRA {' and '.join(loras)} are not known: say [sampling]"
    )
    return replace(known, warning="; ".join(filter(None, (known.warning, doubt))))


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise ModelError(f"{file}: {wrong[0]} is no table; it holds [sampling] and tables of interventions")
    return tables


def _json(file: Path) -> dict[str, Any]:
    """{} where there is no such file."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _plain(name: str) -> str:
    """Letters and digits alone, as a cache's folder names differ from hub ids in the rest."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
