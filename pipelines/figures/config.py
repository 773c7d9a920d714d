"""What the figures are made of."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import require


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Settings of the figures, besides those of the run whose model they show."""

    prompts: tuple[str, ...]
    """Of the sweep of sigma; the first is that of the line between two samples, and of the maps."""
    words: str
    """Of the first prompt, with commas between them: what the maps show the attention to."""
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    """Of every prompt's pictures, two or more; the line goes through the first two."""
    sigmas: tuple[float, ...] = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    """Of TORA, from 1, which is no spacing."""
    shares: tuple[float, ...] = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
    """Of the way from the first sample to the second, which the line's pictures stand at."""
    oracle: str = ""
    """File with the embedded world's oracle, which says how many pictures are right; "" for other models."""

    def __post_init__(self) -> None:
        require(bool(self.prompts), "prompts", self.prompts, "needs one or more")
        require(len(self.seeds) >= 2, "seeds", self.seeds, "needs two or more")
        require(bool(self.sigmas), "sigmas", self.sigmas, "needs one or more")
        require({0.0, 1.0} <= {*self.shares}, "shares", self.shares, "needs 0 and 1 among them, which are the samples")
        require([*self.shares] == sorted({*self.shares}), "shares", self.shares, "needs ascending numbers")
