"""Classifier-free guidance in some steps only (Kynkaanniemi et al., arXiv 2404.07724, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.interventions.base import Call, CallEdit, Control, Edit, Intervention
from models.spec import Interval, InterventionConfig, require_interval, span

if TYPE_CHECKING:
    from torch import Tensor

    from models.denoising import Denoising
    from models.info import ModelInfo


@dataclass(frozen=True, kw_only=True)
class GuidanceIntervalConfig(InterventionConfig):
    """The steps with guidance; in the others only the positive prediction is used."""

    steps: Interval = (0.2, 0.8)
    """Share of the denoising steps with guidance."""

    def __post_init__(self) -> None:
        require_interval(self, "steps")


def _begin(config: GuidanceIntervalConfig, run: Denoising) -> Sequence[Edit]:
    import torch

    if not run.guided:
        raise ModelError(f"guidance_interval has nothing to leave out: {run.family.name} runs without a negative here")
    positive: list[Tensor] = []

    def after(call: Call, predicted: Tensor) -> Tensor:
        """Give both branches the positive prediction, so that guidance between them has no effect."""
        if run.branches == ("cond",):
            positive[:] = [predicted]
            return predicted
        if run.branches == ("uncond",):
            return positive[0]
        cond = run.parts(predicted)["cond"]
        return torch.cat([cond] * len(run.branches))

    guided = span(config.steps, run.steps)
    return [CallEdit(after=after, steps=[step for step in range(run.steps) if step not in guided])]


def _refusal(info: ModelInfo) -> str:
    return "" if info.negative else f"it has nothing to leave out: {info.family} runs without a negative prompt"


GUIDANCE_INTERVAL = Intervention(
    name="guidance_interval",
    title="guidance interval",
    purpose="guidance in some steps only",
    meaning="all settings of the guidance interval; null where it is off",
    config=GuidanceIntervalConfig,
    begin=_begin,
    refusal=_refusal,
    reads_negative=True,
    controls=(
        Control(field="steps", index=0, label="From this share of the steps", low=0.0, high=0.95, step=0.05),
        Control(field="steps", index=1, label="To this share of the steps", low=0.05, high=1.0, step=0.05),
    ),
)
