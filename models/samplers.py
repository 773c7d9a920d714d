"""Facts about diffusers' samplers (which it calls schedulers). Importable without torch."""

from __future__ import annotations

from typing import Any


def does_flow_matching(sampler: Any) -> bool:
    """Whether the latents of a sampler are a mix of image and noise with the share `sigma` of noise."""
    return type(sampler).__name__.startswith("FlowMatch") or bool(getattr(sampler.config, "use_flow_sigmas", False))


def steps_of(sampler: Any, asked: int) -> int:
    """Number of steps that a sampler makes.

    sampler: of the pipeline.
    asked: as `models.spec.Sampling.steps`. A sampler of second order (Heun) evaluates the model twice for each of them
        but the last, and each evaluation is a step.
    """
    return int(sampler.order) * (asked - 1) + 1
