"""Particle guidance: repulsion between the latents of a group (Corso et al., arXiv 2310.13102, equation 4, radial
kernel)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.interventions.base import Call, CallEdit, Control, Edit, Intervention, needs_flow_matching
from models.spec import Interval, InterventionConfig, require, require_interval, span

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising


@dataclass(frozen=True, kw_only=True)
class ParticleGuidanceConfig(InterventionConfig):
    """Repulsion between latents, as a share of their distances."""

    weight: float = 1.0
    """Strength, 0 or more; 0 is none."""
    steps: Interval = (0.0, 1.0)
    """Share of the denoising steps in which it acts."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.weight) and self.weight >= 0.0, self, "weight", "needs 0 or more")
        require_interval(self, "steps")


def _begin(config: ParticleGuidanceConfig, run: Denoising) -> Sequence[Edit]:
    import torch

    run.require_flow_matching("particle_guidance")

    def after(call: Call, predicted: Tensor) -> Tensor:
        # The same in every branch; behind the channels that are drawn there may be those of a condition.
        latents = call.latents[-run.images :, : predicted.shape[1]]
        away = push_of_particles(latents.reshape(run.groups, run.samples, *latents.shape[1:])).flatten(0, 1)
        away = torch.cat([away] * len(run.branches))
        changed: Tensor = predicted - (run.towards_noise * config.weight * run.noise_level * away).to(predicted.dtype)
        return changed

    return [CallEdit(after=after, steps=span(config.steps, run.steps))]


def push_of_particles(latents_GBX: Tensor) -> Tensor:
    """-h/2 times the gradient of each sample's summed similarity to the others, float32 [G, B, ...] like the latents.

    The similarity is exp(-|x_i - x_j|^2 / h), h = median distance^2 / log B of the group (Corso et al., appendix); the
    factor h/2 makes the push a share of the samples' distances, for any size of the latents.

    latents_GBX: float [G, B, ...], of G groups with B samples.
    """
    import torch

    flat_GBX = latents_GBX.float().flatten(2)
    samples = flat_GBX.shape[1]
    if samples == 1:
        return torch.zeros_like(latents_GBX, dtype=torch.float32)
    distance_GBB = torch.cdist(flat_GBX, flat_GBX)
    row, column = torch.triu_indices(samples, samples, offset=1, device=flat_GBX.device)
    width_G11 = (distance_GBB[:, row, column].median(-1).values.square() / math.log(max(samples, 3)))[:, None, None]
    kernel_GBB = torch.exp(-distance_GBB.square() / width_G11.clamp_min(1e-12))
    push_GBX = kernel_GBB.sum(-1, keepdim=True) * flat_GBX - kernel_GBB @ flat_GBX
    return push_GBX.reshape(latents_GBX.shape)


PARTICLE_GUIDANCE = Intervention(
    name="particle_guidance",
    title="particle guidance",
    purpose="drives the latents of a group apart",
    meaning="all settings of particle guidance; null where it is off",
    config=ParticleGuidanceConfig,
    begin=_begin,
    refusal=needs_flow_matching,
    couples="group",
    controls=(Control(field="weight", label="Weight", low=0.0, high=4.0, step=0.1),),
)
