"""Sides of pictures that a model can draw, as far as its folder says. Importable without torch."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

_LEAST = 16
_MORE_LEVELS = {"block_out_channels": 0, "temperal_downsample": 1}
"""Setting of an autoencoder with a value per level -> levels that have none in it."""
_WITHOUT_FILES = 32
"""Of models that are not in a local folder, or whose autoencoder says it otherwise: published ones need 16 or 32."""


def size_unit(path: str) -> int:
    """Pixels of which a side may be any multiple: two values of the autoencoder, which all families draw.

    path: as `model.path`.
    """
    try:
        settings = json.loads((Path(path) / "vae" / "config.json").read_bytes())
        levels = next(len(settings[key]) + more for key, more in _MORE_LEVELS.items() if key in settings)
        return max(_LEAST, int(2**levels))
    except (OSError, ValueError, RecursionError, TypeError, StopIteration):
        return _WITHOUT_FILES


def sides(pixels: int, shape: float, unit: int) -> tuple[int, int]:
    """Width and height of a picture with about as many pixels.

    pixels: how many.
    shape: width over height.
    unit: of which the sides are multiples.
    """
    width, height = sqrt(pixels * shape), sqrt(pixels / shape)
    return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)
