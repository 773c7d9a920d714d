"""The kinds of scorers by name. Importable without torch: a kind's module loads its libraries when it is opened.

A new kind is a module with an `ENTRY` and a line in `BUILT_IN`; outside this project, a call of `register`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from models.errors import ModelError, meant
from models.plugins import COLUMN_NAME

if TYPE_CHECKING:
    from models.scorers.base import Entry, Scorer, ScorerSpec

BUILT_IN = {
    "open_clip": "models.scorers.open_clip",
    "aesthetic": "models.scorers.aesthetic",
    "classifier": "models.scorers.classifier",
    "vqa": "models.scorers.vqa",
    "lift": "models.scorers.lift",
}
"""Kind -> the module whose `ENTRY` it is; imported when it is first asked for."""

_registered: dict[str, Entry] = {}


def register(kind: str, entry: Entry) -> None:
    """Make a kind of scorer known to this process. The same entry may be registered again.

    kind: its name in configs.
    entry: what it is.

    Raises:
        ValueError: when another entry has this name, or the name of one of its columns is not allowed.
    """
    if kind in BUILT_IN or _registered.get(kind, entry) is not entry:
        raise ValueError(f"there is a scorer of the kind {kind!r} already; choose another name")
    if not callable(entry.columns):
        _check_names(kind, entry.columns)
    _registered[kind] = entry


def kinds() -> list[str]:
    """The names of all kinds."""
    return [*BUILT_IN, *_registered]


def entry_of(kind: str) -> Entry:
    """The entry of a kind.

    Raises:
        ValueError: when the kind is unknown.
    """
    if kind in BUILT_IN:
        entry: Entry = import_module(BUILT_IN[kind]).ENTRY
        return entry
    if kind not in _registered:
        raise ValueError(f"kind = {kind!r} is no known scorer{meant(kind, kinds())}")
    return _registered[kind]


def columns_of(spec: ScorerSpec) -> Mapping[str, str]:
    """The own columns of a scorer: name -> meaning.

    Raises:
        ValueError: when the name of one of them is not allowed.
        ModelError: when its options do not say them.
    """
    columns = entry_of(spec.kind).columns
    if not callable(columns):
        return columns
    named = columns(spec)
    _check_names(spec.kind, named)
    return named


def check_settings(kind: str, options: Mapping[str, Any]) -> None:
    """Check the names of a kind's options.

    kind: name of the kind.
    options: its settings by name.

    Raises:
        ValueError: when the kind is unknown, or has no option of this name.
    """
    allowed = entry_of(kind).options
    for key in options:
        if key not in allowed:
            raise ValueError(f"{kind} has no option {key!r}{meant(key, allowed)}")


def open_scorer(spec: ScorerSpec, device: str) -> Scorer:
    """Load a scorer.

    spec: which one.
    device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises:
        ModelError: when it cannot be loaded.
    """
    entry = entry_of(spec.kind)
    entry.check(spec)
    scorer = entry.open(spec, device)
    if (scorer.dim is not None) != entry.vectors:
        raise ModelError(f"scorer {spec.kind!r}: its entry says vectors = {entry.vectors}, but dim = {scorer.dim}")
    return scorer


def _check_names(kind: str, columns: Iterable[str]) -> None:
    for column in columns:
        if not COLUMN_NAME.fullmatch(column):
            raise ValueError(f"scorer {kind!r}: the column {column!r} needs a-z, then a-z, 0-9 and _")
