"""The attributes of a picture as class indices: the language that renders, prompts and the oracle share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.embedded import world
from models.embedded.world import Scene, Thing

HEADS: dict[str, tuple[str, ...]] = {
    "arrangement": world.ARRANGEMENTS,
    "background": world.BACKGROUNDS,
    "size": world.SIZES,
    "position": world.POSITIONS,
    "shape_0": world.SHAPES,
    "colour_0": world.COLOURS,
    "texture_0": world.TEXTURES,
    "shape_1": world.SHAPES,
    "colour_1": world.COLOURS,
    "texture_1": world.TEXTURES,
}
"""Attribute name -> its classes. `_0` is the single, left or upper thing, `_1` the right or lower one."""

NAMES = tuple(HEADS)
ABSENT = -1

Labels = NDArray[np.int8]


def labels_of(scene: Scene) -> Labels:
    """int8 [10], in the order of `HEADS`; `ABSENT` where the scene has no such attribute."""
    words: dict[str, str | None] = {
        "arrangement": scene.arrangement,
        "background": scene.background,
        "size": scene.size,
        "position": scene.position,
    }
    for slot, thing in enumerate(scene.things):
        words |= {f"shape_{slot}": thing.shape, f"colour_{slot}": thing.colour, f"texture_{slot}": thing.texture}
    return np.array([index_of(name, words.get(name)) for name in NAMES], dtype=np.int8)


def index_of(name: str, word: str | None) -> int:
    """Class index of `word` under attribute `name`, or `ABSENT` for None."""
    return ABSENT if word is None else HEADS[name].index(word)


def scene_of(labels: Labels) -> Scene:
    """The inverse of `labels_of`."""
    words = {name: HEADS[name][i] for name, i in zip(NAMES, labels, strict=True) if i != ABSENT}
    slots = (0,) if words["arrangement"] == "single" else (0, 1)
    return Scene(
        arrangement=words["arrangement"],
        things=tuple(
            Thing(shape=words[f"shape_{s}"], colour=words[f"colour_{s}"], texture=words[f"texture_{s}"]) for s in slots
        ),
        background=words["background"],
        size=words.get("size"),
        position=words.get("position"),
    )
