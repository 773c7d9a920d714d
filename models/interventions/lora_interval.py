"""LoRAs in some steps only: a few-step LoRA that begins with the base model's first steps keeps more of its variety
(Gandikota and Bau, arXiv 2503.10637). With `guidance_interval` over the same steps the base model has its guidance
there, and the LoRA none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.interventions.base import CallEdit, Control, Edit, Intervention
from models.spec import Interval, InterventionConfig, require_interval, span

if TYPE_CHECKING:
    from models.denoising import Denoising
    from models.info import ModelInfo


@dataclass(frozen=True, kw_only=True)
class LoraIntervalConfig(InterventionConfig):
    """The steps in which the transformer's LoRAs act; those of text encoders act on the text in any case."""

    steps: Interval = (0.2, 1.0)
    """Share of the denoising steps with LoRAs; with 4 steps the default leaves out the first."""

    def __post_init__(self) -> None:
        require_interval(self, "steps")


def _begin(config: LoraIntervalConfig, run: Denoising) -> Sequence[Edit]:
    if not run.adapted:
        raise ModelError("lora_interval has nothing to leave out: no LoRA acts on the transformer here")
    with_loras = span(config.steps, run.steps)
    return [CallEdit(loras=False, steps=[step for step in range(run.steps) if step not in with_loras])]


def _refusal(info: ModelInfo) -> str:
    return "" if info.adapted else "it has nothing to leave out: no LoRA of the transformer is loaded"


LORA_INTERVAL = Intervention(
    name="lora_interval",
    title="LoRA interval",
    purpose="LoRAs in some steps only",
    meaning="all settings of the LoRA interval; null where it is off",
    config=LoraIntervalConfig,
    begin=_begin,
    refusal=_refusal,
    controls=(
        Control(field="steps", index=0, label="From this share of the steps", low=0.0, high=0.95, step=0.05),
        Control(field="steps", index=1, label="To this share of the steps", low=0.05, high=1.0, step=0.05),
    ),
)
