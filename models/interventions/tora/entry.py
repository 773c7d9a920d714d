"""TORA's entry in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.interventions.base import Control, Edit, Intervention
from models.interventions.tora.config import ToraConfig

if TYPE_CHECKING:
    from models.denoising import Denoising


def _begin(config: ToraConfig, run: Denoising) -> Sequence[Edit]:
    from models.interventions.tora.alignment import edits

    return edits(config, run)


TORA = Intervention(
    name="tora",
    title="TORA",
    purpose="brings out rare concepts",
    meaning="all settings of Token Spacing and Residual Alignment; null where it is off",
    config=ToraConfig,
    begin=_begin,
    reads_negative=True,
    in_every_row=True,
    reads_apart=("site", "attention"),
    idle=(("sigma", 1.0), ("angle", 0.0)),
    controls=(
        Control(field="sigma", label="Spacing, 1 is none", low=0.5, high=10.0, step=0.05),
        Control(field="angle", label="Alignment, 0 is none", low=0.0, high=1.0, step=0.05),
    ),
)
