"""Settings of Token Spacing and Residual Alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.spec import Interval, InterventionConfig, require, require_interval


@dataclass(frozen=True, kw_only=True)
class ToraConfig(InterventionConfig):
    """Token Spacing and Residual Alignment (arXiv 2510.03886) of the prompt's own text tokens, in every joint block.

    No token of a template, a system message or a picture takes part. Spacing alone is `angle = 0`, alignment alone
    `sigma = 1`.
    """

    sigma: float = 1.3
    """Factor on the principal singular values (Token Spacing); 1 leaves them. The paper's is 1.3; 1.5 and more add
    noise where changes add up from block to block."""
    components: int = 0
    """Number of principal directions; 0 chooses it per sample by the Maximum Distance to Chord rule."""
    angle: float = 1.0
    """Share of the rotation towards the semantic direction (Residual Alignment); 0 leaves the residual."""
    direction: Literal["mean", "leading", "prompt"] = "mean"
    """Semantic direction, from e_cond - e_uncond: its mean over the tokens that enter the block, its leading right
    singular vector there, or its mean at the first block's input for all blocks."""
    site: Literal["block", "attention"] = "block"
    """What is changed: the text that enters a block, so that changes add up from block to block, or only the normalised
    text that the block's attention reads."""
    centre: bool = True
    """Take the mean token off before the decomposition, and put it back afterwards."""
    encoders: Literal["together", "apart"] = "together"
    """Which tokens have a decomposition of their own: all of a sample, as in the paper, or those of each text encoder,
    where a model joins several (SD3 joins CLIP and T5, whose difference may be the first principal direction of both).
    Which is better on SD3's weights was not measured, and the embedded model has no T5."""
    padding: bool = False
    """Let the padding tokens that the model reads take part."""
    branch: Literal["cond", "both"] = "cond"
    """Which classifier-free-guidance branch is changed. A negative text with fewer than three tokens of its own (two
    with `centre` off) stays as it is, and so does an empty one, whatever marks the text encoders put around it: with an
    empty negative prompt "both" is the same as "cond", unless `padding` takes part."""
    steps: Interval = (0.0, 1.0)
    """Share of the denoising steps in which it acts."""
    blocks: Interval = (0.0, 1.0)
    """Share of the joint blocks in which it acts."""
    refresh_steps: int = 1
    """Denoising steps from one decomposition of a block's tokens to the next; in between the change that it found is
    applied to the tokens as they are then. On the embedded model, with the paper's settings, that change is off by 2 %
    of TORA's effect in a block at 2 steps, 3 % at 4 and 5 % at 7, by the median; a tenth of the changes by more than
    17, 21 and 37 %. `python jobs/bench.py refresh` measures it."""
    lag_steps: int = 0
    """Denoising steps from a decomposition to the first step that applies it: 0, or 1, where a GPU decomposes beside
    the model and only the first step waits for it. Measured in the same way, a change that comes a step late is off by
    2 % of the effect by the median, and a tenth of the changes by more than 14 %."""

    def __post_init__(self) -> None:
        require(0.1 <= self.sigma <= 10.0, self, "sigma", "needs 0.1 to 10 (the paper uses 1.3)")
        require(0 <= self.components <= 64, self, "components", "needs 0 (automatic) to 64")
        require(0.0 <= self.angle <= 1.0, self, "angle", "needs 0 to 1")
        require(
            self.direction in ("mean", "leading", "prompt"), self, "direction", "needs 'mean', 'leading' or 'prompt'"
        )
        require(self.site in ("block", "attention"), self, "site", "needs 'block' or 'attention'")
        require(self.encoders in ("together", "apart"), self, "encoders", "needs 'together' or 'apart'")
        require(self.branch in ("cond", "both"), self, "branch", "needs 'cond' or 'both'")
        require_interval(self, "steps")
        require_interval(self, "blocks")
        require(self.refresh_steps >= 1, self, "refresh_steps", "needs 1 (every step) or more")
        require(self.lag_steps in (0, 1), self, "lag_steps", "needs 0 (the same step) or 1 (the next one)")
