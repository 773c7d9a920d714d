"""Names of open_clip's models and of their weights, read from its files: importing it would load torch."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LOCAL_DIR, HUB = "local-dir:", "hf-hub:"
WITH_OWN_WEIGHTS = (LOCAL_DIR, HUB)
"""Beginnings of names of models that bring their weights along; of others `pretrained` names them."""

_QUICK = "-quickgelu"


def models() -> list[str]:
    """The names of its models; empty where it is not installed."""
    return sorted(file.stem for folder in _folders() for file in (folder / "model_configs").glob("*.json"))


def tags(model: str) -> list[str]:
    """The tags of the weights for a model; empty where there are none.

    model: its name.
    """
    found = _weights().get(model.removesuffix(_QUICK), {})
    return [tag for tag, quick in found.items() if quick or not model.endswith(_QUICK)]


@cache
def _weights() -> dict[str, dict[str, bool]]:
    """Model -> tag -> whether it is one for `NAME-quickgelu` too. `pretrained.py` has them in assignments of the form
    `_NAME = dict(tag=_pcfg(...))`, one for each model, and in `_PRETRAINED = {"model": _NAME}`."""
    found: dict[str, dict[str, bool]] = {}
    for folder in _folders():
        values = {
            line.targets[0].id: line.value
            for line in ast.parse((folder / "pretrained.py").read_text(encoding="utf-8")).body
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
        }
        table = values.get("_PRETRAINED")
        for name, weights in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
            named = values.get(weights.id) if isinstance(weights, ast.Name) else weights
            if isinstance(name, ast.Constant):
                found[str(name.value)] = {tag: "quick_gelu" in _keywords(one) for tag, one in _keywords(named).items()}
    return found


def _keywords(call: ast.expr | None) -> dict[str, ast.expr]:
    """The arguments of a call that have names."""
    return {one.arg: one.value for one in call.keywords if one.arg} if isinstance(call, ast.Call) else {}


def _folders() -> list[Path]:
    spec = find_spec("open_clip")
    return [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
