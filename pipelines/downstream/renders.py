"""Real pictures: renders of the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.embedded.attributes import Labels, labels_of
from models.embedded.measures import real_pictures
from models.embedded.render import render
from models.embedded.world import sample_scene
from models.seeds import image_seed
from pipelines.downstream.concepts import Classes, Concept, classes_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Pictures with their classes."""

    pictures_NHWC: NDArray[np.uint8]
    """uint8 [N, 64, 64, 3]."""
    classes: Classes
    """int64 [N, 2]."""

    @staticmethod
    def joined(parts: Sequence[Labelled]) -> Labelled:
        """The pictures of all parts."""
        return Labelled(
            pictures_NHWC=np.concatenate([part.pictures_NHWC for part in parts]),
            classes=np.concatenate([part.classes for part in parts]),
        )


def long_tailed(count: int, seed: int) -> Labelled:
    """Pictures of one thing each, as common as the world has them.

    count: 1 or more.
    seed: of all draws.
    """
    rng = np.random.default_rng(image_seed(seed, "long-tailed", 0))
    pictures: list[NDArray[np.uint8]] = []
    labels: list[Labels] = []
    while len(pictures) < count:
        scene = sample_scene(rng)
        if scene.arrangement == "single":
            pictures.append(render(scene, rng))
            labels.append(labels_of(scene))
    return Labelled(pictures_NHWC=np.stack(pictures), classes=classes_of(np.stack(labels)))


def of_concept(concept: Concept, each: int, purpose: str) -> NDArray[np.uint8]:
    """Pictures of a concept, uint8 [each, 64, 64, 3]; all else in them is as common as the world has it.

    concept: what they show.
    each: how many.
    purpose: those of different purposes are different.
    """
    rng = np.random.default_rng(image_seed(0, f"{purpose}: {concept.prompt.prompt}", 0))
    return real_pictures(concept.prompt.prompt, each, rng)
