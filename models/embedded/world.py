"""The procedural world: its vocabulary, its long-tailed statistics, and scenes drawn from them.

A scene holds one thing, with a size and a position, or two things side by side or one above the other. Every shape has
typical colours and textures: the probability of a pair falls with its rank in that shape's own order, down to pairs
that a training run sees a few times or never. The tables below are the only place that says how common a pair is: the
training data is drawn from them, and they give a prompt its `rarity` and its common counterfactual.

Importable without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rarity = Literal["common", "uncommon", "rare", "unseen"]
"""How often a pair of attribute and shape is in the training data: see `attribute_rarity`."""

Kind = Literal["colour", "texture"]
"""What the attribute of a pair is."""

SHAPES = (
    "circle", "square", "triangle", "star", "heart", "cross",
    "ring", "diamond", "moon", "arrow", "flower", "drop",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS = ("snow", "stone", "night", "sand", "sky", "grass")
SIZES = ("small", "medium", "large")
POSITIONS = ("left", "right", "top", "bottom", "center")
ARRANGEMENTS = ("single", "horizontal", "vertical")

TWO_THINGS_PROBABILITY = 0.4
"""Share of scenes with two things."""

COLOUR_PROBABILITY_BY_RANK = (0.48, 0.25, 0.13, 0.08, 0.045, 0.0145, 0.0005, 0.0)
TEXTURE_PROBABILITY_BY_RANK = (0.56, 0.30, 0.1395, 0.0005)
"""p(attribute | shape), by the attribute's rank for that shape. A colour of rank 7 is seen about six times among the
120,000 training scenes, a colour of rank 8 never; a texture of rank 4 is seen about six times."""

_COMMON_AT_LEAST = 0.10
_RARE_BELOW = 0.02


def _rank_table(count: int, stride: int, step: int) -> tuple[tuple[int, ...], ...]:
    """One order of `count` attributes per shape (index 0 = most typical), every attribute typical of some shape."""
    return tuple(tuple((step * s + stride * r) % count for r in range(count)) for s in range(len(SHAPES)))


COLOUR_ORDER = _rank_table(len(COLOURS), stride=3, step=5)
TEXTURE_ORDER = _rank_table(len(TEXTURES), stride=3, step=1)
"""`COLOUR_ORDER[shape][rank]` is the index of the colour of that rank; likewise for textures."""


def _probability_table(order: tuple[tuple[int, ...], ...], by_rank: Sequence[float]) -> NDArray[np.float64]:
    table = np.zeros((len(order), len(by_rank)))
    for shape, attributes in enumerate(order):
        table[shape, list(attributes)] = by_rank
    table /= table.sum(axis=1, keepdims=True)
    return table


COLOUR_GIVEN_SHAPE = _probability_table(COLOUR_ORDER, COLOUR_PROBABILITY_BY_RANK)
TEXTURE_GIVEN_SHAPE = _probability_table(TEXTURE_ORDER, TEXTURE_PROBABILITY_BY_RANK)
"""float64 [shapes, attributes], rows sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object of a scene."""

    shape: str
    """One of `SHAPES`."""
    colour: str
    """One of `COLOURS`."""
    texture: str
    """One of `TEXTURES`."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a picture shows: one thing with a size and a position, or two things."""

    arrangement: str
    """One of `ARRANGEMENTS`."""
    things: tuple[Thing, ...]
    """One or two, the left or upper one first."""
    background: str
    """One of `BACKGROUNDS`."""
    size: str | None = None
    """One of `SIZES` for a single thing, else None."""
    position: str | None = None
    """One of `POSITIONS` for a single thing, else None."""


def sample_scene(rng: np.random.Generator, *, balanced: bool = False) -> Scene:
    """A scene drawn from the world.

    rng: the source of randomness.
    balanced: draw every attribute of a thing uniformly, and not from the long-tailed tables.
    """
    two = rng.random() < TWO_THINGS_PROBABILITY
    things = tuple(_sample_thing(rng, balanced) for _ in range(2 if two else 1))
    background = _choose(BACKGROUNDS, rng)
    if two:
        return Scene(arrangement=_choose(ARRANGEMENTS[1:], rng), things=things, background=background)
    return Scene(
        arrangement="single",
        things=things,
        background=background,
        size=_choose(SIZES, rng),
        position=_choose(POSITIONS, rng),
    )


def _choose(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _sample_thing(rng: np.random.Generator, balanced: bool) -> Thing:
    shape = int(rng.integers(len(SHAPES)))
    if balanced:
        colour, texture = int(rng.integers(len(COLOURS))), int(rng.integers(len(TEXTURES)))
    else:
        colour = int(rng.choice(len(COLOURS), p=COLOUR_GIVEN_SHAPE[shape]))
        texture = int(rng.choice(len(TEXTURES), p=TEXTURE_GIVEN_SHAPE[shape]))
    return Thing(shape=SHAPES[shape], colour=COLOURS[colour], texture=TEXTURES[texture])


def attribute_probability(shape: str, kind: Kind, word: str) -> float:
    """The probability p(word | shape) in the training world.

    shape: one of `SHAPES`.
    kind: whether `word` is a colour or a texture.
    word: one of `COLOURS` or `TEXTURES`.
    """
    table, words = (COLOUR_GIVEN_SHAPE, COLOURS) if kind == "colour" else (TEXTURE_GIVEN_SHAPE, TEXTURES)
    return float(table[SHAPES.index(shape), words.index(word)])


def attribute_rarity(shape: str, kind: Kind, word: str) -> Rarity:
    """How common `word` is on `shape`: common (>= 10 %), uncommon (>= 2 %), rare (> 0) or unseen (0).

    shape, kind, word: as for `attribute_probability`.
    """
    probability = attribute_probability(shape, kind, word)
    if probability >= _COMMON_AT_LEAST:
        return "common"
    if probability >= _RARE_BELOW:
        return "uncommon"
    return "rare" if probability > 0.0 else "unseen"


def most_typical(shape: str, kind: Kind) -> str:
    """The most frequent colour or texture of a shape, which replaces a rare attribute in the counterfactual."""
    index = SHAPES.index(shape)
    return COLOURS[COLOUR_ORDER[index][0]] if kind == "colour" else TEXTURES[TEXTURE_ORDER[index][0]]
