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


def require(good: bool, owner: object, field: str, rule: str) -> None:
    if not good:
        raise ValueError(f"{field} = {getattr(owner, field)!r} is out of range: {rule}")


def require_interval(owner: object, field: str) -> None:
    start, stop = getattr(owner, field)
    require(0.0 <= start < stop <= 1.0, owner, field, "needs 0 <= start < stop <= 1")


def span(interval: Interval, count: int) -> range:
    """The numbers, of 0 to `count` - 1, inside `interval`: one at least where there is one."""
    first = max(0, min(count - 1, math.floor(interval[0] * count + 0.5)))
    return range(first, min(count, max(first + 1, math.floor(interval[1] * count + 0.5))))


@dataclass(frozen=True, kw_only=True)
class InterventionConfig:
    """Settings of an intervention; see `models.interventions.base.Intervention.config`."""


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
        require(1 <= self.steps <= 1000, self, "steps", "needs 1 to 1000")
        require(math.isfinite(self.guidance_scale) and self.guidance_scale >= 0, self, "guidance_scale", "needs >= 0")
        for side in ("width", "height"):
            require(8 <= getattr(self, side) <= 8192, self, side, "needs 8 to 8192 pixels")
        require(0 <= self.max_sequence_length <= 4096, self, "max_sequence_length", "needs 0 to 4096 tokens")
        require(1 <= self.frames <= 1024, self, "frames", "needs 1 to 1024")


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
        require(bool(self.path), self, "path", "needs a pipeline folder or a hub id")
        require(self.dtype in ("float32", "bfloat16", "float16"), self, "dtype", "needs float32, bfloat16 or float16")
        require(self.weights in ("dtype", "float8"), self, "weights", "needs 'dtype' or 'float8'")
        require(self.offload in ("none", "model", "group"), self, "offload", "needs 'none', 'model' or 'group'")
        whole = self.weights == "dtype" and self.offload != "group"
        require(whole or not self.compile, self, "compile", "needs weights = 'dtype', and no offload by group")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One prompt and the seeds of its images, generated together: the unit of work, of retry and of determinism.

    image: the file (PNG, JPEG, WebP ...) of the picture to edit, for editing families only; interventions: settings of
    those that act on it.
    """

    prompt: str
    seeds: tuple[int, ...]
    sampling: Sampling
    image: bytes | None = None
    interventions: tuple[InterventionConfig, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.seeds) >= 1, self, "seeds", "a group needs at least one seed")
        kinds = {type(config) for config in self.interventions}
        require(len(kinds) == len(self.interventions), self, "interventions", "each kind may be there once")

    @property
    def batch_key(self) -> Any:
        """Groups with equal keys can share a denoising batch."""
        return (len(self.seeds), self.sampling, self.interventions)
