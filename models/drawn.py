"""What comes of a group: its images, how much of its text the model read, and what interventions did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.hooks.record import Floats, mean_displacement


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The images of a group, how much of its text the model read, and what interventions did to it."""

    pixels: NDArray[np.uint8]
    """uint8 [B, H, W, 3]; [B, frames, H, W, 3] for video."""
    tokens_cut: Mapping[str, int]
    """Text encoder -> how many of the prompt's last tokens it was not given."""
    negative_tokens_cut: Mapping[str, int]
    """The same of the negative prompt; empty where the model was not given it."""
    edits: Mapping[str, Floats]
    """Name of each intervention with edits of text -> their numbers, float64 [blocks, steps, branches, B, k]; see
    `models.hooks.record`."""

    @property
    def displacement(self) -> dict[str, NDArray[np.float32]]:
        """Name of each intervention with edits of text -> how far it moved each image's text, as a share of its length,
        on average over its edits: float32 [B], 0 where it moved nothing."""
        return {name: mean_displacement(numbers) for name, numbers in self.edits.items()}
