"""The attributes of a picture as class indices, as renders, prompts and the oracle share them."""

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
"""The ten attributes, in the order of label arrays."""

ABSENT = -1
"""Label of an attribute that a scene does not have."""

Labels = NDArray[np.int8]
"""int8 [..., 10]: class indices in the order of `NAMES`."""


def labels_of(scene: Scene) -> Labels:
    """The attributes of a scene as class indices, int8 [10]; `ABSENT` where the scene has no such attribute."""
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
    """The scene with these attributes, the inverse of `labels_of`.

    labels: int8 [10].
    """
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
