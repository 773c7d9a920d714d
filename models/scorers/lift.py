"""The kind "lift": how much better a diffusion model itself predicts an image when it is told the prompt (CompLift,
arXiv 2505.13740). Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from models.errors import ModelError, require
from models.loading.revision import folder_revision
from models.scorers.base import Entry, Scorer, ScorerSpec
from models.spec import Dtype


@dataclass(frozen=True, kw_only=True)
class LiftOptions:
    """The kind's options, checked."""

    levels: int = 8
    """Noise levels, each with noise of its own."""
    parts: bool = True
    """Whether to measure the prompt's parts too."""
    dtype: str = "auto"
    """Of the model, as `ModelSpec.dtype`."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        require(1 <= self.levels <= 500, "levels", self.levels, "needs 1 to 500")
        require(0 <= self.seed < 2**31, "seed", self.seed, "needs 0 to 2**31 - 1")
        known = get_args(Dtype)
        require(self.dtype in known, "dtype", self.dtype, f"needs one of {', '.join(known)}")


def options_of(options: Mapping[str, Any]) -> LiftOptions:
    """The options of a spec.

    Raises:
        ModelError: when one does not fit; the message begins with its name.
    """
    for one in fields(LiftOptions):
        value, wanted = options.get(one.name, one.default), type(one.default)
        if type(value) is not wanted:
            raise ModelError(f"options.{one.name} = {value!r}: needs a value such as {one.default!r}")
    try:
        return LiftOptions(**options)
    except ValueError as error:
        raise ModelError(f"options.{error}") from None


def _check(spec: ScorerSpec) -> None:
    if not spec.model:
        raise ModelError("model = '' is out of range: needs a pipeline folder or a hub id, as in [model]")
    options_of(spec.options)


def _revision(spec: ScorerSpec) -> str:
    return folder_revision(Path(spec.model)) if Path(spec.model).is_dir() else spec.revision


def _columns(spec: ScorerSpec) -> dict[str, str]:
    return {"min": "lowest lift over the prompt's parts, or its own"} if options_of(spec.options).parts else {}


def _open(spec: ScorerSpec, device: str) -> Scorer:
    from models.scorers.lift_scorer import LiftScorer

    return LiftScorer(spec.model, spec.revision, options_of(spec.options), device)


ENTRY = Entry(
    open=_open,
    check=_check,
    revision=_revision,
    vectors=False,
    score="lift: mean squared error of the model's prediction without the prompt, less that with it",
    columns=_columns,
    options=tuple(one.name for one in fields(LiftOptions)),
)
