"""Scenes that a prompt describes: what it leaves open is drawn, as in the training world or evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.embedded import world
from models.embedded.attributes import HEADS, NAMES, index_of, scene_of
from models.embedded.captions import CaptionStyle, caption, named_attributes
from models.embedded.world import Scene

Expansion = Literal["none", "typical", "uniform"]
"""How prompts become longer: not at all, or by words for what they leave open, drawn as in the training world or
evenly."""

_IN_FULL = CaptionStyle(
    keep_shape=1.0, keep_colour=1.0, keep_texture=1.0, keep_size=1.0, keep_position=1.0, keep_background=1.0
)


def described(prompt: str, rng: np.random.Generator, *, balanced: bool = False) -> Scene:
    """A scene with everything that a prompt names, the rest drawn.

    A thing's open colour and texture follow its shape, and an open shape what is named of it.

    prompt: a caption in the grammar of `captions`.
    rng: the source of randomness.
    balanced: draw evenly, and not from the world's long-tailed tables.
    """
    words = dict(named_attributes(prompt))
    single = words["arrangement"] == "single"
    for name in ("background", "size", "position") if single else ("background",):
        words.setdefault(name, _drawn(HEADS[name], None, rng))
    for slot in (0,) if single else (0, 1):
        tables = {
            f"colour_{slot}": world.COLOUR_GIVEN_SHAPE,
            f"texture_{slot}": world.TEXTURE_GIVEN_SHAPE,
        }
        if balanced:
            tables = {name: np.full_like(table, 1.0 / table.shape[1]) for name, table in tables.items()}
        likely = np.ones(len(world.SHAPES))
        for name, table in tables.items():
            if name in words:
                likely = likely * table[:, index_of(name, words[name])]
        shape = words.setdefault(f"shape_{slot}", _drawn(world.SHAPES, likely, rng))
        for name, table in tables.items():
            words.setdefault(name, _drawn(HEADS[name], table[world.SHAPES.index(shape)], rng))
    return scene_of(np.array([index_of(name, words.get(name)) for name in NAMES], dtype=np.int8))


def expanded(prompt: str, rng: np.random.Generator, *, balanced: bool) -> str:
    """The prompt with words for everything that it leaves open; arguments as for `described`."""
    return caption(described(prompt, rng, balanced=balanced), rng, _IN_FULL)


def _drawn(words: Sequence[str], weights: NDArray[np.float64] | None, rng: np.random.Generator) -> str:
    """One of the words. Where no weight is above 0, as for the shape of a pair that is never seen, all are alike."""
    if weights is None or not weights.any():
        return words[int(rng.integers(len(words)))]
    return words[int(rng.choice(len(words), p=weights / weights.sum()))]
