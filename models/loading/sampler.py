"""Gives a pipeline the sampler that its user wants instead of its own."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers

from models.errors import ModelError
from models.families.base import Family
from models.samplers import FLOW_MATCHING, counts_backwards, does_flow_matching
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
    given = [*family.sampler_inputs, *(["invert_sigmas"] if counts_backwards(own) else [])]
    if untaken := [each for each in given if each not in _taken(name)]:
        raise ModelError(
            f"{key} = {name!r}: the pipeline of {family.name} gives its sampler {', '.join(untaken)}, which this one "
            f"does not take; these do: {', '.join(other for other in FLOW_MATCHING if {*given} <= _taken(other))}"
        )
    return kind.from_config(own.config, **facts.settings, **_shift(own, facts.shift, spec.shift))


def _taken(name: str) -> set[str]:
    """The settings of a sampler, and what it can be given when a run begins."""
    kind = getattr(diffusers, name)
    return {*inspect.signature(kind).parameters, *inspect.signature(kind.set_timesteps).parameters}


def _shift(own: Any, setting: str, asked: float) -> dict[str, Any]:
    """A fixed shift takes the place of one by the picture's size, and of a last noise level above 0."""
    if asked:
        return {setting: asked, "use_dynamic_shifting": False, "shift_terminal": None}
    return {setting: own.config[FLOW_MATCHING[type(own).__name__].shift]} if type(own).__name__ in FLOW_MATCHING else {}
