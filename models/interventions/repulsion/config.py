"""Settings of contextual repulsion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.spec import Interval, InterventionConfig, require, require_interval


@dataclass(frozen=True, kw_only=True)
class RepulsionConfig(InterventionConfig):
    """Contextual repulsion (arXiv 2603.28762), applied to a group's text tokens at each block's output."""

    strength: float = 0.01
    """Dimensionless step size: eta = strength * mean squared norm of the group's token vectors. Small differences in a
    group grow by about 2 * strength / B * |log of their share| in a block, and this adds up over the blocks of a step:
    `models.checkpoints.repulsion_strength` says how much is right at which depth. From 3 on, a group of 4 ends up as
    different as it can be in a single block, and `max_displacement` decides."""
    eta: float = 0.0
    """The paper's absolute step size; when above 0 it is used instead of `strength`."""
    inner_steps: int = 100
    """M, the number of ascent steps on the entropy at each block."""
    max_displacement: float = 0.5
    """Cap on the displacement of a block, relative to the root mean square norm of the group's token vectors."""
    branch: Literal["cond", "both"] = "both"
    """Which classifier-free-guidance branch is pushed apart; the paper's are both, where there are two."""
    steps: Interval = (0.0, 0.15)
    """Share of the denoising steps in which it acts; the paper's tau is 4 of 28 steps, 1 of 4, or 1 of 20 (FLUX)."""
    blocks: Interval = (0.0, 1.0)
    """Share of the joint blocks at whose output it acts; the last block's is read by no other and does not count."""
    vary_words: str = ""
    """What is to vary: words of the prompt, with commas between them. Only their tokens are pushed apart, and no
    negative text is, which has none of them; "" pushes the tokens of the whole text."""
    keep_words: str = ""
    """What is to stay: words of the prompt, with commas between them, whose tokens are not pushed."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.strength) and self.strength >= 0.0, self, "strength", "needs 0 or more")
        require(math.isfinite(self.eta) and self.eta >= 0.0, self, "eta", "needs 0 or more (0 uses strength)")
        require(0 <= self.inner_steps <= 10_000, self, "inner_steps", "needs 0 to 10,000 (the paper uses 50 or 100)")
        require(self.max_displacement > 0.0, self, "max_displacement", "needs a value above 0")
        require(self.branch in ("cond", "both"), self, "branch", "needs 'cond' or 'both'")
        require_interval(self, "steps")
        require_interval(self, "blocks")
