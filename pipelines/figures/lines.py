"""The line through two samples of a prompt, in contextual space and in that of starting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.generator import Generator
from models.hooks.lines import in_context, in_noise
from models.spec import Group
from pipelines.figures.config import Figures

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The pictures of one line."""

    space: str
    """In which it is straight."""
    meaning: str
    """What its ends are."""
    samples: Pixels
    """The two samples, uint8 [2, H, W, 3]."""
    pictures: Pixels
    """At the shares of the way, uint8 [S, H, W, 3]."""
    steps: tuple[float, ...]
    """Root mean square difference of the pixels from each picture to the next, from 0 to 255."""
    evenness: float
    """Mean of the steps between the samples over their largest: 1 where the picture changes evenly, little where it
    changes all at once."""


def lines(generator: Generator, group: Group, figures: Figures) -> list[Line]:
    """Both lines.

    generator: with the model.
    group: a prompt, its first two seeds, and no interventions.
    figures: the settings.

    Raises:
        ModelError: when the model's blocks do not give their text apart from the image.
    """
    shares, (first, second) = figures.shares, group.seeds[:2]
    # In contextual space all begin with the first sample's noise: what differs is what they read.
    whole = Group(
        prompt=group.prompt, seeds=(first, second, *[first] * len(shares)), sampling=group.sampling, loras=group.loras
    )
    with in_context(generator.transformer, generator.family, shares):
        context = generator.generate([whole])[0]
    with in_noise(generator.pipeline, shares):
        noise = generator.generate([whole])[0]
    return [
        _line(
            "contextual space",
            "Every picture begins with the first sample's noise and reads text tokens between both samples': at 0 it "
            "is the first sample, at 1 the first sample's noise with the second one's text tokens.",
            context,
            shares,
        ),
        _line("the space of starting noise", "At 0 and at 1 the pictures are the two samples.", noise, shares),
    ]


def _line(space: str, meaning: str, pixels: Pixels, shares: tuple[float, ...]) -> Line:
    samples, pictures = pixels[:2], pixels[2:]
    changes = np.diff(pictures.astype(np.float64), axis=0)
    steps = [float(np.sqrt(np.mean(np.square(change)))) for change in changes]
    between = steps[shares.index(0.0) : shares.index(1.0)]
    return Line(
        space=space,
        meaning=meaning,
        samples=samples,
        pictures=pictures,
        steps=tuple(steps),
        evenness=float(np.mean(between) / max(between)) if max(between) else 1.0,
    )
