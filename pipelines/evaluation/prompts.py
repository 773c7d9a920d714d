"""The sets of prompts of an evaluation."""

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
    """Prompts of one rarity and kind."""

    rarity: str
    """"common", "rare", "unseen", or "open" for prompts that leave most attributes open."""
    kind: str
    """"single" or "relation"."""
    prompts: tuple[str, ...]
    """The texts."""

    @property
    def name(self) -> str:
        """Its name in the report."""
        return f"{self.rarity}, {self.kind}"


def prompt_sets(config: Prompts) -> list[PromptSet]:
    """The sets of an evaluation, of the sizes that its settings ask for."""
    sets = [
        PromptSet(rarity=rarity, kind=kind, prompts=tuple(thinned([p.prompt for p in prompts], config.per_set)))
        for rarity in RARITIES
        for kind, prompts in world_prompts(rarity).items()
    ]
    return [*sets, PromptSet(rarity=OPEN, kind="single", prompts=tuple(thinned(list(open_prompts()), config.open)))]


def thinned(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, chosen at even distances; 0 takes all."""
    if most == 0 or most >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most).round()]
