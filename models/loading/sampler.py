"""Gives a pipeline the sampler that its user wants instead of its own."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import diffusers

from models.errors import ModelError
from models.families.base import Family
from models.samplers import FLOW_MATCHING, does_flow_matching
from models.spec import ModelSpec


def sampler_of(own: Any, family: Family, spec: ModelSpec) -> Any:
    """The sampler that a model is run with: its own, or one made of its settings.

    own: the pipeline's scheduler.
    family: of the pipeline.
    spec: names a class, a shift, or neither.

    Raises:
        ModelError: when the model does no flow matching, or its pipeline cannot drive the sampler.
    """
    if not spec.scheduler and not spec.shift:
        return own
    key = "model.scheduler" if spec.scheduler else "model.shift"
    name = spec.scheduler or type(own).__name__
    if not does_flow_matching(own) or name not in FLOW_MATCHING:
        raise ModelError(
            f"{key} = {spec.scheduler or spec.shift!r} is for flow-matching models, and {family.name} comes with "
            f"{type(own).__name__}; leave it out"
        )
    kind, facts = getattr(diffusers, name), FLOW_MATCHING[name]
    taken = inspect.signature(kind.set_timesteps).parameters
    if untaken := [name for name in family.sampler_inputs if name not in taken]:
        raise ModelError(
            f"{key} = {name!r}: the pipeline of {family.name} gives its sampler {', '.join(untaken)}, which this one "
            f"does not take; these do: {', '.join(_that_take(family.sampler_inputs))}"
        )
    return kind.from_config(own.config, **facts.settings, **_shift(own, facts.shift, spec.shift))


def _that_take(inputs: Sequence[str]) -> list[str]:
    kinds = {name: inspect.signature(getattr(diffusers, name).set_timesteps).parameters for name in FLOW_MATCHING}
    return [name for name, taken in kinds.items() if {*inputs} <= {*taken}]


def _shift(own: Any, setting: str, asked: float) -> dict[str, Any]:
    """A fixed shift takes the place of one by the picture's size, and of a last noise level above 0."""
    if asked:
        return {setting: asked, "use_dynamic_shifting": False, "shift_terminal": None}
    return {setting: own.config[FLOW_MATCHING[type(own).__name__].shift]} if type(own).__name__ in FLOW_MATCHING else {}
