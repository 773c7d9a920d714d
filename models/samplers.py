"""Facts about diffusers' samplers (which it calls schedulers). Importable without torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A sampler that a flow-matching model can be run with in place of its own."""

    shift: str
    """Its setting for a fixed shift of the noise levels."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What makes it do flow matching."""


_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}

FLOW_MATCHING: Mapping[str, Sampler] = {
    "FlowMatchEulerDiscreteScheduler": Sampler(shift="shift"),
    "FlowMatchHeunDiscreteScheduler": Sampler(shift="shift"),
    "UniPCMultistepScheduler": Sampler(shift="flow_shift", settings=_FLOW),
    "DPMSolverMultistepScheduler": Sampler(shift="flow_shift", settings=_FLOW),
}
"""Class in diffusers -> facts. Samplers that draw noise in every step (FlowMatchLCMScheduler, SASolverScheduler) are
not here: no seed of a row would say which."""


def does_flow_matching(sampler: Any) -> bool:
    """Whether the latents of a sampler are a mix of image and noise, of which `sigma` gives the shares."""
    return type(sampler).__name__.startswith("FlowMatch") or bool(getattr(sampler.config, "use_flow_sigmas", False))


def counts_backwards(sampler: Any) -> bool:
    """Whether the `sigma` of a flow-matching sampler is the share of the image, and its model predicts the way from
    noise to image (Mochi); elsewhere it is the share of noise, and the way from image to noise."""
    return bool(sampler.config.get("invert_sigmas"))


def steps_of(sampler: Any, asked: int, share: float = 1.0) -> int:
    """Number of steps that a sampler makes.

    sampler: of the pipeline.
    asked: as `models.spec.Sampling.steps`. A sampler of second order (Heun) evaluates the model twice for each of them
        but the last, and each evaluation is a step.
    share: of those asked for that are made, the last ones, as `models.spec.Sampling.denoising_strength`; at least one.
    """
    left_out = int(max(asked - min(asked * share, asked), 0))  # to the bit as `get_timesteps` of diffusers' pipelines
    return int(sampler.order) * (asked - left_out - 1) + 1


def takes_sigmas(sampler: Any) -> bool:
    """Whether diffusers' pipelines give a sampler the noise levels that they are called with. One that only
    `use_flow_sigmas` makes do flow matching does not get them from the pipelines of FLUX and others."""
    takes = "sigmas" in inspect.signature(type(sampler).set_timesteps).parameters
    return takes and not sampler.config.get("use_flow_sigmas")


def adds_noise(sampler: Any) -> bool:
    """Whether a sampler can begin from a picture, by putting as much noise on it as its first step expects."""
    return hasattr(sampler, "scale_noise")
