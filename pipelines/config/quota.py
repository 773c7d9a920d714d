"""The table [quota] of a run's TOML file. Importable without torch or ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.errors import require


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How many accepted, different images there shall be, and how far a run goes for them."""

    accepted: int
    """Accepted images for each concept or prompt. Another number goes on with a run."""
    per: Literal["concept", "prompt"] = "concept"
    """What has a quota. A prompt without a concept is one of its own."""
    most_groups: int = 400
    """Groups for each quota, over all arms and prompts; then it is given up, with the reason. Another number goes on
    with a run."""
    candidates: tuple[str, ...] = ()
    """Names of the arms between which the groups are shared out; () is all arms."""
    distinct_similarity: float = 0.95
    """An image at least this similar (cosine of embeddings) to one that is accepted already is a repeat."""
    budget: Literal["bandit", "uniform"] = "bandit"
    """How the groups of a quota are shared out among arms and prompts: to those that bring the most new accepted images
    for their work, or in turn."""

    def __post_init__(self) -> None:
        require(1 <= self.accepted <= 1_000_000, "accepted", self.accepted, "needs 1 to 1,000,000 images")
        require(1 <= self.most_groups <= 1_000_000, "most_groups", self.most_groups, "needs 1 to 1,000,000 groups")
        known = len({*self.candidates}) == len(self.candidates)
        require(known, "candidates", list(self.candidates), "needs each arm once")
        similarity = self.distinct_similarity
        require(0.0 < similarity < 1.0, "distinct_similarity", similarity, "needs more than 0 and less than 1")
