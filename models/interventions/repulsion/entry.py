"""The entry of contextual repulsion in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.interventions.base import Control, Edit, Intervention
from models.interventions.repulsion.config import RepulsionConfig

if TYPE_CHECKING:
    from models.denoising import Denoising


def _begin(config: RepulsionConfig, run: Denoising) -> Sequence[Edit]:
    from models.interventions.repulsion.groups import edits

    return edits(config, run)


REPULSION = Intervention(
    name="repulsion",
    title="repulsion",
    purpose="drives a group apart",
    meaning="all settings of contextual repulsion; null where it is off",
    config=RepulsionConfig,
    begin=_begin,
    couples="group",
    work="inner_steps",
    in_every_row=True,
    idle=(("strength", 0.0), ("eta", 0.0)),
    controls=(
        Control(field="strength", label="Strength", low=-3, high=1, step=0.1, logarithmic=True, clears="eta"),
        Control(field="steps", index=1, label="Share of the steps, from the first", low=0.05, high=1.0, step=0.05),
    ),
)
