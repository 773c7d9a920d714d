"""The settings that are recommended for a model, as classes: the job, the endpoint and evaluations ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from models.errors import ModelError, meant
from models.recommended import UNKNOWN, Recommended, recommended
from models.spec import Lora, Sampling
from pipelines.config import arms, toml
from pipelines.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run gets that says nothing of sampling and interventions."""

    sampling: Sampling
    """Of its groups."""
    interventions: arms.Interventions
    """Of every registered intervention."""
    recommended: Recommended
    """The same as plain values, with their sources and the warning."""


def settings_of(path: object, loras: Sequence[Lora] = ()) -> Settings:
    """The settings for a model. Plugins are imported before: the files beside the model and its LoRAs may have their
    tables.

    path: as `model.path`; what is no text, or none, is a model that nobody knows.
    loras: its LoRAs.

    Raises:
        UserError: when a file beside the folder or a LoRA, or a config in the folder, cannot be read or does not fit;
            the message names it.
    """
    try:
        known = recommended(path, loras) if isinstance(path, str) and path else UNKNOWN
    except ModelError as error:
        raise UserError(str(error)) from error
    names = ["sampling", *arms.names()]
    for file, tables in known.files.items():
        for name in tables:
            if name not in names:
                raise UserError(
                    f"{file}: unknown table [{name}]{meant(name, names)}; the file is read as settings of what lies "
                    "beside it: if it is something else, use a copy of the weights without it"
                )
    said_by = " or ".join(known.files) or known.source
    return Settings(
        sampling=toml.build(Sampling, known.sampling, file=said_by, at="sampling"),
        interventions=arms.read_interventions({}, known, file=said_by),
        recommended=known,
    )


def settings_of_table(model: object) -> Settings:
    """The settings for the model of a file's table [model], which may be wrong in any way.

    model: the table.

    Raises:
        UserError: as `settings_of`.
    """
    if not isinstance(model, Mapping):
        return settings_of(None)
    tables = loras if isinstance(loras := model.get("loras"), list) else []
    return settings_of(model.get("path"), [lora for table in tables for lora in _loras(table)])


def _loras(table: object) -> Sequence[Lora]:
    """The LoRA of a table; none where it is wrong, which is said when the whole file is read."""
    try:
        return [toml.build(Lora, table, file="")] if isinstance(table, Mapping) else []
    except UserError:
        return []


def build_experiment(
    kind: type[T], table: dict[str, Any], overrides: Sequence[str], lists: Mapping[str, type[Any]], *, file: str
) -> T:
    """The settings of an experiment, which takes what its model recommends where the file does not say.

    kind: the dataclass, with fields `model`, `sampling` and `recommended`.
    table: what the file says; it is changed.
    overrides: `key.sub=value`, in place of values of the file.
    lists: the keys with arrays of tables in which interventions are keys, and the dataclass of each.
    file: for messages.

    Raises:
        UserError: when a key or value does not fit.
    """
    for text in overrides:
        toml.override(table, text)
    known = settings_of_table(table.get("model"))
    if isinstance(own := table.get("sampling", {}), dict):
        table["sampling"] = {**known.recommended.sampling, **own}
    given: dict[str, Any] = {
        key: arms.build_each(one, table.pop(key, []), known.interventions, file=file, key=key)
        for key, one in lists.items()
    }
    return toml.build(kind, table, file=file, given={**given, "recommended": known.recommended})
