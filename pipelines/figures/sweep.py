"""TORA at several spacings on the same prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.embedded.measures import success
from models.embedded.oracle import Oracle
from models.generator import Generator
from models.interventions.tora.config import ToraConfig
from models.spec import Group
from models.statistics import Estimate, bootstrap
from pipelines.figures.config import Figures


@dataclass(frozen=True, kw_only=True)
class AtSigma:
    """The pictures of one spacing."""

    sigma: float
    """The spacing."""
    pictures: NDArray[np.uint8]
    """uint8 [prompts, seeds, H, W, 3]."""
    right: Estimate | None
    """Percent that show all that their prompts name; None where no oracle reads them."""


def sweep(generator: Generator, groups: Sequence[Group], tora: ToraConfig, figures: Figures) -> list[AtSigma]:
    """The pictures at every spacing.

    generator: with the model.
    groups: of all prompts, without interventions.
    tora: its other settings.
    figures: the settings.
    """
    judge = Oracle(Path(figures.oracle)) if figures.oracle else None
    return [_at(generator, groups, replace(tora, sigma=sigma), judge) for sigma in figures.sigmas]


def _at(generator: Generator, groups: Sequence[Group], tora: ToraConfig, judge: Oracle | None) -> AtSigma:
    pictures = [generator.generate([replace(group, interventions=(tora,))])[0] for group in groups]
    right = None
    if judge is not None:
        made = zip(groups, pictures, strict=True)
        right = bootstrap([100 * success(group.prompt, judge.read(pixels)) for group, pixels in made])
    return AtSigma(sigma=tora.sigma, pictures=np.stack(pictures), right=right)
