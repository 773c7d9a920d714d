"""DAVE damps the mean image token at one early block (arXiv 2606.06813), so that images differ more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.interventions.base import Control, Edit, ImageEdit, Intervention
from models.spec import Interval, InterventionConfig, require, require_interval, span

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising


@dataclass(frozen=True, kw_only=True)
class DaveConfig(InterventionConfig):
    """Damping of the mean image token."""

    weight: float = 0.5
    """Factor on the mean image token, 0 or more; 1 leaves it unchanged."""
    block: int = 1
    """Number of the joint block at whose output it acts, from 0."""
    steps: Interval = (0.0, 0.2)
    """Share of the denoising steps in which it acts."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.weight) and self.weight >= 0.0, self, "weight", "needs 0 or more")
        require(self.block >= 0, self, "block", "needs 0 or more")
        require_interval(self, "steps")


def _begin(config: DaveConfig, run: Denoising) -> Sequence[Edit]:
    import torch

    if config.block >= run.blocks:
        raise ModelError(f"dave.block = {config.block}: this model has the joint blocks 0 to {run.blocks - 1}")
    context = run.shards.context

    def damp(image_RND: Tensor) -> Tensor:
        total_R1D = context.sum(image_RND.sum(dim=1, keepdim=True, dtype=torch.float32))  # float16 ends at 65504
        count = context.sum(total_R1D.new_tensor(image_RND.shape[1]))
        return image_RND + ((config.weight - 1.0) * (total_R1D / count)).to(image_RND.dtype)

    return [ImageEdit(change=damp, blocks=(config.block,), steps=span(config.steps, run.steps))]


DAVE = Intervention(
    name="dave",
    title="DAVE",
    purpose="damps what all places of an image share",
    meaning="all settings of DAVE; null where it is off",
    config=DaveConfig,
    begin=_begin,
    controls=(Control(field="weight", label="Weight, 1 is none", low=0.0, high=1.0, step=0.05),),
)
