"""An intervention of somebody else's: nothing in the project knows of it, and `run.plugins` names this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.interventions.base import Control, Edit, Intervention, TextEdit
from models.interventions.registry import register
from models.spec import Interval, InterventionConfig, require, span

if TYPE_CHECKING:
    from models.denoising import Denoising


@dataclass(frozen=True, kw_only=True)
class LouderConfig(InterventionConfig):
    """Text tokens made longer."""

    factor: float = 1.5
    """On every token."""
    rows: Literal["all", "cond"] = "all"
    """Which rows of a call."""
    blocks: Interval = (0.0, 1.0)
    """Share of the blocks."""

    def __post_init__(self) -> None:
        require(self.factor > 0, self, "factor", "needs more than 0")


def _begin(config: LouderConfig, run: Denoising) -> Sequence[Edit]:
    blocks = span(config.blocks, run.blocks)
    return [
        TextEdit(site="block input", change=lambda text: text * config.factor, blocks=blocks, steps=range(run.steps))
    ]


register(
    Intervention(
        name="louder",
        title="louder <text>",
        purpose="makes text & tokens longer",
        meaning="all settings of louder text; null where it is off",
        config=LouderConfig,
        begin=_begin,
        controls=(Control(field="factor", label="Factor", low=0.5, high=2.0, step=0.1),),
    )
)
