"""What a group of images is made from: every setting that changes pixels, as frozen values.

Importable without torch, so that configs and plans can be read and checked on a machine that runs no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Interval = tuple[float, float]
"""A share of the run's steps or of the model's blocks, [start, stop) within [0, 1]; (0, 1) is all of them."""

Parallelism = Literal["auto", "context", "cfg", "group"]
"""How several ranks share a denoising batch: see `models.parallel.division`."""

Weights = Literal["dtype", "float8"]
Offload = Literal["none", "model", "group"]

PLACES = ("device", "offload")
"""The settings of `ModelSpec` that say where it runs. No row depends on them."""


def _require(good: bool, owner: object, field: str, rule: str) -> None:
    if not good:
        raise ValueError(f"{field} = {getattr(owner, field)!r} is out of range: {rule}")


def _require_interval(owner: object, field: str) -> None:
    start, stop = getattr(owner, field)
    _require(0.0 <= start < stop <= 1.0, owner, field, "needs 0 <= start < stop <= 1")


def active(interval: Interval, index: int, count: int) -> bool:
    """Is number `index` of `count` inside `interval`? At least one always is."""
    first = min(count - 1, math.floor(interval[0] * count + 0.5))
    last = max(first + 1, math.floor(interval[1] * count + 0.5))
    return first <= index < last


@dataclass(frozen=True, kw_only=True)
class ToraConfig:
    """Token Spacing and Residual Alignment (arXiv 2510.03886) of the text tokens, in every joint block.

    Spacing alone is `angle = 0`, alignment alone `sigma = 1`.
    """

    sigma: float = 2.0
    """Factor on the principal singular values (Token Spacing); 1 leaves them. The paper's is 1.3, where changes add up
    from block to block."""
    components: int = 0
    """Number of principal directions; 0 chooses it per sample by the Maximum Distance to Chord rule."""
    angle: float = 1.0
    """Share of the rotation towards the semantic direction (Residual Alignment); 0 leaves the residual."""
    direction: Literal["mean", "leading", "prompt"] = "mean"
    """Semantic direction, from e_cond - e_uncond: its mean over the tokens that enter the block, its leading right
    singular vector there, or its mean at the first block's input for all blocks."""
    site: Literal["block", "attention"] = "attention"
    """What is changed: the text that enters a block, so that changes add up from block to block, or only the normalised
    text that the block's attention reads."""
    centre: bool = True
    """Take the mean token off before the decomposition, and put it back afterwards."""
    padding: bool = False
    """Let the padding tokens that the model reads take part."""
    branch: Literal["cond", "both"] = "cond"
    """Which classifier-free-guidance branch is changed."""
    steps: Interval = (0.0, 1.0)
    """Share of the denoising steps in which it acts."""
    blocks: Interval = (0.0, 1.0)
    """Share of the joint blocks in which it acts."""

    def __post_init__(self) -> None:
        _require(0.1 <= self.sigma <= 10.0, self, "sigma", "needs 0.1 to 10 (the paper uses 1.3)")
        _require(0 <= self.components <= 64, self, "components", "needs 0 (automatic) to 64")
        _require(0.0 <= self.angle <= 1.0, self, "angle", "needs 0 to 1")
        _require(
            self.direction in ("mean", "leading", "prompt"), self, "direction", "needs 'mean', 'leading' or 'prompt'"
        )
        _require(self.site in ("block", "attention"), self, "site", "needs 'block' or 'attention'")
        _require(self.branch in ("cond", "both"), self, "branch", "needs 'cond' or 'both'")
        _require_interval(self, "steps")
        _require_interval(self, "blocks")


@dataclass(frozen=True, kw_only=True)
class RepulsionConfig:
    """Contextual repulsion (arXiv 2603.28762), applied to a group's text tokens at each block's output."""

    strength: float = 3.0
    """Dimensionless step size: eta = strength * mean squared norm of the group's token vectors. Small differences in a
    group grow by about 2 * strength / B * |log of their share| in a block; from 3 on, a group of 4 ends up as different
    as it can be, and `max_displacement` decides."""
    eta: float = 0.0
    """The paper's absolute step size; when above 0 it is used instead of `strength`."""
    inner_steps: int = 100
    """M, the number of ascent steps on the entropy at each block."""
    max_displacement: float = 1.0
    """Cap on the displacement of a block, relative to the root mean square norm of the group's token vectors."""
    branch: Literal["cond", "both"] = "cond"
    """Which classifier-free-guidance branch is pushed apart. A push that both share partly cancels in their difference;
    one on the unconditional branch alone makes a group less diverse."""
    steps: Interval = (0.0, 0.15)
    """Share of the denoising steps in which it acts; the paper's tau is 4 of 28 steps, or 1 of 4."""
    blocks: Interval = (0.6667, 1.0)
    """Share of the joint blocks at whose output it acts; the last block's is read by no other and does not count."""

    def __post_init__(self) -> None:
        _require(math.isfinite(self.strength) and self.strength >= 0.0, self, "strength", "needs 0 or more")
        _require(math.isfinite(self.eta) and self.eta >= 0.0, self, "eta", "needs 0 or more (0 uses strength)")
        _require(0 <= self.inner_steps <= 10_000, self, "inner_steps", "needs 0 to 10,000 (the paper uses 50 or 100)")
        _require(self.max_displacement > 0.0, self, "max_displacement", "needs a value above 0")
        _require(self.branch in ("cond", "both"), self, "branch", "needs 'cond' or 'both'")
        _require_interval(self, "steps")
        _require_interval(self, "blocks")


@dataclass(frozen=True, kw_only=True)
class RivalConfig:
    """A published rival of the interventions, for evaluations only (see `models.interventions.rivals`)."""

    method: Literal["interval", "cads", "dave", "particle"]
    weight: float = 0.0
    """CADS: the noise scale s; DAVE: the factor on the mean image token; particle guidance: its strength."""
    steps: Interval = (0.0, 1.0)
    """Share of the denoising steps in which it acts; for CADS from full noise to none."""
    block: int = 1
    """DAVE: number of the block, from 0."""

    def __post_init__(self) -> None:
        _require(self.method in ("interval", "cads", "dave", "particle"), self, "method", "is no known rival")
        _require(math.isfinite(self.weight) and self.weight >= 0.0, self, "weight", "needs 0 or more")
        _require(self.block >= 0, self, "block", "needs 0 or more")
        _require_interval(self, "steps")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the sampler runs. Groups with equal sampling can share a denoising batch.

    These are the defaults of a model that `models.checkpoints` does not know.
    """

    steps: int = 28
    guidance_scale: float = 4.5
    width: int = 1024
    height: int = 1024
    negative_prompt: str = ""
    max_sequence_length: int = 256
    """Most tokens of a prompt (of its T5 part, where the family has one); a longer prompt is refused."""
    frames: int = 1
    """Frames of a video; image families make 1."""

    def __post_init__(self) -> None:
        _require(1 <= self.steps <= 1000, self, "steps", "needs 1 to 1000")
        _require(math.isfinite(self.guidance_scale) and self.guidance_scale >= 0, self, "guidance_scale", "needs >= 0")
        for side in ("width", "height"):
            _require(8 <= getattr(self, side) <= 8192, self, side, "needs 8 to 8192 pixels")
        _require(0 <= self.max_sequence_length <= 4096, self, "max_sequence_length", "needs 0 to 4096 tokens")
        _require(1 <= self.frames <= 1024, self, "frames", "needs 1 to 1024")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model, and how it is loaded.

    path: a diffusers pipeline folder or a hub id; revision: commit hash, branch or tag on the hub, or what
    `models.loading.revision.folder_revision` says of a local folder;
    dtype: of the transformer and text encoders; device: "auto" takes CUDA where there is one.

    For less memory: weights: "float8" keeps the transformer's in float8_e4m3fn and computes in `dtype`; vae_slicing
    (on, as a batch of megapixels would take tens of GB) decodes one image at a time, vae_tiling in overlapping tiles,
    whose seams change pixels a little; offload: "model" has only the part that is at work on the GPU, "group" only the
    layer of the transformer that is at work.

    For more speed: compile has torch.compile make the joint blocks anew, which takes a minute or more on every worker,
    and a C++ compiler where the device is a CPU.
    """

    path: str
    revision: str = ""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    device: str = "auto"
    weights: Weights = "dtype"
    vae_slicing: bool = True
    vae_tiling: bool = False
    offload: Offload = "none"
    compile: bool = False

    def __post_init__(self) -> None:
        _require(bool(self.path), self, "path", "needs a pipeline folder or a hub id")
        _require(self.dtype in ("float32", "bfloat16", "float16"), self, "dtype", "needs float32, bfloat16 or float16")
        _require(self.weights in ("dtype", "float8"), self, "weights", "needs 'dtype' or 'float8'")
        _require(self.offload in ("none", "model", "group"), self, "offload", "needs 'none', 'model' or 'group'")
        whole = self.weights == "dtype" and self.offload != "group"
        _require(whole or not self.compile, self, "compile", "needs weights = 'dtype', and no offload by group")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One prompt and the seeds of its images, generated together: the unit of work, of retry and of determinism.

    image: the file (PNG, JPEG, WebP ...) of the picture to edit, for editing families only.
    """

    prompt: str
    seeds: tuple[int, ...]
    sampling: Sampling
    image: bytes | None = None
    tora: ToraConfig | None = None
    repulsion: RepulsionConfig | None = None

    def __post_init__(self) -> None:
        _require(len(self.seeds) >= 1, self, "seeds", "a group needs at least one seed")

    @property
    def batch_key(self) -> Any:
        """Groups with equal keys can share a denoising batch."""
        return (len(self.seeds), self.sampling, self.tora, self.repulsion)
