"""Prompts of the embedded world with their concept, its rarity, and the common counterfactual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.embedded import world
from models.embedded.captions import RELATIONS, with_article
from models.embedded.world import Kind, Rarity


@dataclass(frozen=True, kw_only=True)
class WorldPrompt:
    """A prompt about one pair of attribute and shape."""

    prompt: str
    """The text."""
    concept: str
    """The attribute and the shape, such as "pink heart"."""
    kind: Kind
    """Of the attribute."""
    rarity: Rarity
    """Rarity of the pair in the training world."""
    counterfactual: str | None
    """The prompt with the shape's most typical attribute in place of this one; None where it is that one."""


def pairs(kind: Kind, rarity: Rarity) -> list[tuple[str, str]]:
    """All (attribute, shape) pairs of a rarity, in the order of the vocabulary.

    kind: of the attribute.
    rarity: of the pairs.
    """
    words = world.COLOURS if kind == "colour" else world.TEXTURES
    return [
        (word, shape) for shape in world.SHAPES for word in words if world.attribute_rarity(shape, kind, word) == rarity
    ]


def single_prompts(kind: Kind, rarity: Rarity) -> Iterator[WorldPrompt]:
    """The prompt `a <attribute> <shape>` for every pair of a rarity; arguments as for `pairs`."""
    for word, shape in pairs(kind, rarity):
        yield _prompt(word, shape, kind, rarity, "{}")


def relation_prompts(kind: Kind, rarity: Rarity, *, seed: int, each: int = 1) -> Iterator[WorldPrompt]:
    """Prompts for every pair of a rarity, beside a second thing in its most typical colour.

    The second thing, the relation and the sides are drawn at random, without repeats.

    kind, rarity: as for `pairs`.
    seed: of the draws.
    each: prompts of each pair. More of them leave the first ones as they are.
    """
    rng = np.random.default_rng(seed)
    templates: dict[tuple[str, str], list[str]] = {pair: [] for pair in pairs(kind, rarity)}
    for _ in range(each):
        for own in templates.values():
            while (template := _beside_another(rng)) in own:
                pass
            own.append(template)
    for (word, shape), own in templates.items():
        for template in own:
            yield _prompt(word, shape, kind, rarity, template)


def _beside_another(rng: np.random.Generator) -> str:
    other = world.SHAPES[int(rng.integers(len(world.SHAPES)))]
    companion = with_article(f"{world.most_typical(other, 'colour')} {other}")
    relation = list(RELATIONS)[int(rng.integers(len(RELATIONS)))]
    first = bool(rng.integers(2))
    return f"{{}} {relation} {companion}" if first else f"{companion} {relation} {{}}"


def open_prompts() -> Iterator[str]:
    """Prompts that leave most attributes open: one shape, one colour or one background named."""
    yield from (with_article(shape) for shape in world.SHAPES)
    yield from (f"{with_article(colour)} thing" for colour in world.COLOURS)
    yield from (f"a thing on {background}" for background in world.BACKGROUNDS)


def _prompt(word: str, shape: str, kind: Kind, rarity: Rarity, template: str) -> WorldPrompt:
    typical = world.most_typical(shape, kind)
    prompt, other = (template.format(with_article(f"{w} {shape}")) for w in (word, typical))
    return WorldPrompt(
        prompt=prompt,
        concept=f"{word} {shape}",
        kind=kind,
        rarity=rarity,
        counterfactual=other if word != typical else None,
    )


def world_prompts(rarity: Rarity, *, companions: int = 1) -> dict[str, list[WorldPrompt]]:
    """Prompts of one rarity: single things, and two things in a relation.

    rarity: of the pairs.
    companions: second things of each pair, with a prompt for each.
    """
    single = [*single_prompts("colour", rarity), *single_prompts("texture", rarity)]
    return {"single": single, "relation": [*relation_prompts("colour", rarity, seed=5, each=companions)]}
