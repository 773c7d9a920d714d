"""Prompts of the embedded world with what is known of them: how rare, what concept, and the frequent counterfactual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.embedded import world
from models.embedded.captions import RELATIONS, with_article
from models.embedded.world import Kind, Rarity


@dataclass(frozen=True, kw_only=True)
class WorldPrompt:
    """One prompt.

    concept: the attribute and shape that the prompt is about; rarity: of that pair in the training world;
    counterfactual: the prompt with the pair's attribute replaced by the shape's most typical one (None for a prompt
    that already names it).
    """

    prompt: str
    concept: str
    rarity: Rarity
    counterfactual: str | None


def pairs(kind: Kind, rarity: Rarity) -> list[tuple[str, str]]:
    """All (attribute, shape) pairs of a rarity, in the order of the vocabulary."""
    words = world.COLOURS if kind == "colour" else world.TEXTURES
    return [
        (word, shape) for shape in world.SHAPES for word in words if world.attribute_rarity(shape, kind, word) == rarity
    ]


def single_prompts(kind: Kind, rarity: Rarity) -> Iterator[WorldPrompt]:
    """`a <attribute> <shape>` for every pair of a rarity."""
    for word, shape in pairs(kind, rarity):
        yield _prompt(word, shape, kind, rarity, "{}")


def relation_prompts(kind: Kind, rarity: Rarity, *, seed: int) -> Iterator[WorldPrompt]:
    """The same pairs beside a second thing in its most typical colour, the relation and the sides drawn at random."""
    rng = np.random.default_rng(seed)
    for word, shape in pairs(kind, rarity):
        other = world.SHAPES[int(rng.integers(len(world.SHAPES)))]
        companion = with_article(f"{world.most_typical(other, 'colour')} {other}")
        relation = list(RELATIONS)[int(rng.integers(len(RELATIONS)))]
        first = bool(rng.integers(2))
        template = f"{{}} {relation} {companion}" if first else f"{companion} {relation} {{}}"
        yield _prompt(word, shape, kind, rarity, template)


def open_prompts() -> Iterator[str]:
    """Prompts that leave most attributes open: one shape, one colour or one background named."""
    yield from (with_article(shape) for shape in world.SHAPES)
    yield from (f"{with_article(colour)} thing" for colour in world.COLOURS)
    yield from (f"a thing on {background}" for background in world.BACKGROUNDS)


def _prompt(word: str, shape: str, kind: Kind, rarity: Rarity, template: str) -> WorldPrompt:
    typical = world.most_typical(shape, kind)
    prompt, other = (template.format(with_article(f"{w} {shape}")) for w in (word, typical))
    return WorldPrompt(
        prompt=prompt, concept=f"{word} {shape}", rarity=rarity, counterfactual=other if word != typical else None
    )


def world_prompts(rarity: Rarity) -> dict[str, list[WorldPrompt]]:
    """Prompts of one rarity: single things, and two things in a relation."""
    single = [*single_prompts("colour", rarity), *single_prompts("texture", rarity)]
    return {"single": single, "relation": [*relation_prompts("colour", rarity, seed=5)]}
