"""The prompts of an evaluation, set by set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.embedded.promptset import open_prompts, world_prompts
from models.embedded.world import Rarity
from pipelines.evaluation.config import Prompts

T = TypeVar("T")

RARITIES: tuple[Rarity, ...] = ("common", "rare", "unseen")
OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Prompts of one rarity ("common", "rare", "unseen", or "open" for those that leave most attributes open) and kind
    ("single" or "relation")."""

    rarity: str
    kind: str
    prompts: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.rarity}, {self.kind}"


def prompt_sets(config: Prompts) -> list[PromptSet]:
    """The sets, each thinned evenly to the numbers of `config`."""
    sets = [
        PromptSet(rarity=rarity, kind=kind, prompts=tuple(thinned([p.prompt for p in prompts], config.per_set)))
        for rarity in RARITIES
        for kind, prompts in world_prompts(rarity).items()
    ]
    return [*sets, PromptSet(rarity=OPEN, kind="single", prompts=tuple(thinned(list(open_prompts()), config.open)))]


def thinned(items: Sequence[T], most: int) -> list[T]:
    """`most` of `items` at even distances (0: all)."""
    if most == 0 or most >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most).round()]
