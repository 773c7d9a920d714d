"""The sets of prompts of an evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.embedded.promptset import open_prompts, world_prompts
from models.embedded.world import Rarity
from pipelines.evaluation.config import Half, Prompts

T = TypeVar("T")

RARITIES: tuple[Rarity, ...] = ("common", "rare", "unseen")
OPEN = "open"
WIDE = "wide"


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Prompts of one rarity and kind, and how many pictures each gets."""

    rarity: str
    """"common", "rare", "unseen", or "open" for prompts that leave most attributes open."""
    kind: str
    """"single", "relation", or "wide" for larger groups of open prompts."""
    prompts: tuple[str, ...]
    """The texts."""
    concepts: tuple[str, ...]
    """What each is about: intervals resample concepts, as prompts of one fail and succeed together."""
    images: int
    """Pictures of each."""

    @property
    def name(self) -> str:
        """Its name in the report."""
        return f"{self.rarity}, {self.kind}"


def prompt_sets(config: Prompts) -> list[PromptSet]:
    """The sets of an evaluation, of the sizes that its settings ask for."""
    sets = []
    for rarity in RARITIES:
        of_kind = world_prompts(rarity, companions=config.companions)
        # Colours and textures apart, so that each half has as many of both.
        apart = [[p.concept for own in of_kind.values() for p in own if p.kind == k] for k in ("colour", "texture")]
        taking_part = {concept for concepts in apart for concept in in_half(concepts, config.half)}
        for kind, prompts in of_kind.items():
            own = thinned([p for p in prompts if p.concept in taking_part], config.per_set)
            texts, concepts = tuple(p.prompt for p in own), tuple(p.concept for p in own)
            sets.append(PromptSet(rarity=rarity, kind=kind, prompts=texts, concepts=concepts, images=config.group_size))
    every = list(open_prompts())
    taking_part = in_half(every, config.half)
    texts = tuple(thinned([text for text in every if text in taking_part], config.open))
    for kind, images in (("single", config.group_size), (WIDE, config.wide_group)):
        if images:
            sets.append(PromptSet(rarity=OPEN, kind=kind, prompts=texts, concepts=texts, images=images))
    return sets


def in_half(concepts: Iterable[str], half: Half) -> set[str]:
    """The concepts of a half: every second one, in an order that has nothing to do with what they are."""
    ordered = sorted({*concepts}, key=lambda concept: hashlib.blake2b(concept.encode(), digest_size=8).digest())
    return {*ordered} if half == "all" else {*ordered[0 if half == "choose" else 1 :: 2]}


def thinned(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, chosen at even distances; 0 takes all."""
    if most == 0 or most >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most).round()]
