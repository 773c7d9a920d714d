"""The classes that are told apart: every pair of a colour or a texture with a shape, and how common it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.embedded import world
from models.embedded.attributes import ABSENT, NAMES, Labels
from models.embedded.promptset import WorldPrompt, single_prompts
from models.embedded.world import Kind, Rarity

Part = Literal["head", "tail", "never seen"]

PARTS: dict[Part, Rarity] = {"head": "common", "tail": "rare", "never seen": "unseen"}
"""Parts of the distribution of real pictures -> rarity of their pairs. The uncommon ones are in neither."""

KINDS: tuple[Kind, ...] = ("colour", "texture")
"""A picture has a class of each kind."""

CLASSES = tuple(len(world.SHAPES) * len(words) for words in (world.COLOURS, world.TEXTURES))
"""Number of classes of each kind."""

Classes = NDArray[np.int64]
"""int64 [..., 2]: a class of each kind, `ABSENT` where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A class, and the prompt that asks for it."""

    prompt: WorldPrompt
    """What is drawn for it."""
    kind: Kind
    """Whether it is a colour or a texture on a shape."""
    part: Part
    """How common it is among real pictures."""
    number: int
    """Of the class among those of its kind."""

    @property
    def classes(self) -> Classes:
        """What a picture of this concept is known to show: its own class, and none of the other kind."""
        return np.array([self.number if kind == self.kind else ABSENT for kind in KINDS])


def concepts(most: int = 0) -> list[Concept]:
    """The concepts of all parts, head first.

    most: concepts of each part and kind, chosen at even distances; 0 takes all.
    """
    found = []
    for part, rarity in PARTS.items():
        for kind in KINDS:
            own = [_concept(prompt, kind, part) for prompt in single_prompts(kind, rarity)]
            places = np.linspace(0, len(own) - 1, min(most or len(own), len(own))).round().astype(int)
            found += [own[place] for place in places]
    return found


def _concept(prompt: WorldPrompt, kind: Kind, part: Part) -> Concept:
    word, _, shape = prompt.concept.partition(" ")
    words = world.COLOURS if kind == "colour" else world.TEXTURES
    number = world.SHAPES.index(shape) * len(words) + words.index(word)
    return Concept(prompt=prompt, kind=kind, part=part, number=number)


def classes_of(labels: Labels) -> Classes:
    """The classes that pictures of one thing show.

    labels: int8 [n, 10], as of `models.embedded.attributes`.
    """
    shape, colour, texture = (labels[:, NAMES.index(f"{name}_0")].astype(np.int64) for name in ("shape", *KINDS))
    return np.stack([shape * len(world.COLOURS) + colour, shape * len(world.TEXTURES) + texture], axis=1)
