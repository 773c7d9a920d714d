"""Edits of the embedded world: a picture, one attribute that is to change, and an exact answer to whether it did so and
all others stayed.

Image to image describes the picture that is wanted, so the prompt is a caption of the target. It names shapes, colours
and the background, and the attribute that changes; a thing's texture, size and place are to be kept from the picture
alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.embedded.attributes import ABSENT, NAMES, labels_of
from models.embedded.captions import with_article
from models.embedded.measures import Floats
from models.embedded.oracle import Reading
from models.embedded.pictures import drawn
from models.embedded.promptset import pairs
from models.embedded.render import render
from models.embedded.world import Kind, Rarity, Scene, sample_scene
from models.generator import Generator
from models.seeds import image_seed
from models.spec import Group, InterventionConfig, Sampling

_RELATION = {"horizontal": "left of", "vertical": "above"}


@dataclass(frozen=True, kw_only=True)
class WorldEdit:
    """One edit."""

    instruction: str
    """Such as "make the star purple"."""
    prompt: str
    """A caption of the target."""
    counterfactual: str
    """The same caption of the source."""
    concept: str
    """The new attribute and the shape, such as "purple star"."""
    rarity: Rarity
    """Rarity of this pair in the training world."""
    attribute: str
    """The one that changes, of `models.embedded.attributes.NAMES`."""
    source: Scene
    """What the picture shows."""
    target: Scene
    """What it is to show."""
    pixels: NDArray[np.uint8]
    """uint8 [64, 64, 3]: the picture."""

    @property
    def picture(self) -> bytes:
        """The picture as a PNG file."""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG")
        return file.getvalue()


def edits(kind: Kind, rarity: Rarity, *, two: bool = False, seed: int = 0) -> Iterator[WorldEdit]:
    """An edit for every pair of a rarity: a thing of the pair's shape gets its attribute.

    The scene is drawn as in the training world, with a thing of that shape and another attribute.

    kind, rarity: as for `models.embedded.promptset.pairs`.
    two: with a second thing in the picture, which is to stay as it is.
    seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    for word, shape in pairs(kind, rarity):
        slot = int(rng.integers(2)) if two else 0
        source = _scene(rng, shape, kind, word, slot, two=two)
        thing = source.things[slot]
        changed = replace(thing, colour=word) if kind == "colour" else replace(thing, texture=word)
        things = tuple(changed if at == slot else one for at, one in enumerate(source.things))
        target = replace(source, things=things)
        yield WorldEdit(
            instruction=f"make the {shape} {word}",
            prompt=_caption(target, kind, slot),
            counterfactual=_caption(source, kind, slot),
            concept=f"{word} {shape}",
            rarity=rarity,
            attribute=f"{kind}_{slot}",
            source=source,
            target=target,
            pixels=render(source, rng),
        )


def _scene(rng: np.random.Generator, shape: str, kind: Kind, word: str, slot: int, *, two: bool) -> Scene:
    """One with a thing of this shape in its place, which has not the attribute yet; another thing has another shape."""
    while True:
        scene = sample_scene(rng)
        if (len(scene.things) == 2) != two:
            continue
        shapes = [thing.shape for thing in scene.things]
        if shapes[slot] == shape and shapes.count(shape) == 1 and getattr(scene.things[slot], kind) != word:
            return scene


def _caption(scene: Scene, kind: Kind, slot: int) -> str:
    texts = []
    for at, thing in enumerate(scene.things):
        words = [thing.texture] * (kind == "texture" and at == slot) + [thing.colour, thing.shape]
        texts.append(with_article(" ".join(words)))
    return f"{f' {_RELATION.get(scene.arrangement)} '.join(texts)} on {scene.background}"


def pictures_of(
    generator: Generator,
    edits: Sequence[WorldEdit],
    sampling: Sampling,
    *,
    images: int,
    groups_per_batch: int = 4,
    interventions: tuple[InterventionConfig, ...] = (),
) -> Iterator[NDArray[np.uint8]]:
    """The edits made from their pictures, in order, uint8 [images, 64, 64, 3] for each.

    generator: of the embedded model.
    edits: what to make.
    sampling: of all groups.
    images: pictures of each edit.
    groups_per_batch: edits that share a denoising batch.
    interventions: settings of those that act on all groups.
    """
    groups = [
        Group(
            prompt=edit.prompt,
            seeds=tuple(image_seed(0, edit.prompt, index) for index in range(images)),
            sampling=sampling,
            pictures=(edit.picture,),
            interventions=interventions,
        )
        for edit in edits
    ]
    return drawn(generator, [(group,) for group in groups], prompts_per_batch=groups_per_batch)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of an edit, for each of n pictures."""

    changed: Floats
    """float64 [n]: 1 where the attribute is as asked for."""
    kept: Floats
    """float64 [n]: share of the other attributes that are as in the source."""

    @property
    def exact(self) -> Floats:
        """float64 [n]: 1 where the attribute is as asked for and all others are as in the source."""
        exact: Floats = self.changed * (self.kept == 1.0)
        return exact


def judge(edit: WorldEdit, reading: Reading) -> Judged:
    """What the oracle says of an edit.

    edit: the edit.
    reading: of the pictures that were made of it.
    """
    wanted = labels_of(edit.target)
    right = reading.labels == wanted
    column = NAMES.index(edit.attribute)
    others = wanted != ABSENT
    others[column] = False
    return Judged(changed=right[:, column].astype(np.float64), kept=right[:, others].mean(1))
