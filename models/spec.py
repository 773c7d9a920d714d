"""What a group of images is made from: every setting that changes pixels, as frozen values.

Importable without torch, so that configs and plans can be read and checked on a machine that runs no model.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from models import errors
from models.errors import meant
from models.samplers import FLOW_MATCHING

Interval = tuple[float, float]
"""A share of the denoising steps that are made or of the model's blocks, [start, stop) within [0, 1]; (0, 1) is all."""

Parallelism = Literal["auto", "context", "cfg", "group"]
"""How several ranks share a denoising batch: see `models.parallel.division`."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""A number format: see `ModelSpec.dtype`."""

Weights = Literal["dtype", "float8"]
"""Storage of the transformer's weights: see `ModelSpec.weights`."""

Quantization = Literal["bitsandbytes-nf4", "bitsandbytes-int8", "torchao-int8", "torchao-float8"]
"""A package, and the format to which it brings weights: 4 or 8 bits each."""

Offload = Literal["none", "model", "group"]
"""What is on the GPU at a time: see `ModelSpec.offload`."""

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""What pipelines of diffusers name their text encoders."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")

PLACES = ("device", "offload")
"""The fields of `ModelSpec` that say where the model runs. No row depends on them."""


def require(good: bool, owner: object, field: str, rule: str) -> None:
    """Check one field of settings.

    good: whether its value is in range.
    owner: the settings.
    field: name of the field.
    rule: what the field needs, for the message.

    Raises:
        ValueError: when the value is out of range; the message has field, value and rule.
    """
    errors.require(good, field, getattr(owner, field), rule)


def require_interval(owner: object, field: str) -> None:
    """Check that a field of settings is an `Interval`; arguments and error as of `require`."""
    start, stop = getattr(owner, field)
    require(0.0 <= start < stop <= 1.0, owner, field, "needs 0 <= start < stop <= 1")


def span(interval: Interval, count: int) -> range:
    """The numbers inside an interval, out of 0 to `count` - 1; at least one number unless `count` is 0."""
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
    """Denoising steps from noise, 1 to 1000."""
    sigmas: tuple[float, ...] = ()
    """The noise levels at which the steps are made, as many as `steps`, in place of the sampler's own: above 0, at most
    1, and each below the one before. Few-step checkpoints and LoRAs name theirs. diffusers' pipelines are given them as
    `sigmas`, so that the sampler's shift acts on them too; with a `ModelSpec.shift` of 1 they are taken as they are."""
    guidance_scale: float = 4.5
    """Scale of classifier-free guidance, 0 or more; at most 1 is none."""
    width: int = 1024
    """Pixels, 8 to 8192, a multiple of what the family needs."""
    height: int = 1024
    """As `width`."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    max_sequence_length: int = 256
    """Most tokens of a prompt (of its T5 part, where the family has one), 0 to 4096; a longer prompt is an error."""
    frames: int = 1
    """Frames of a video, 1 to 1024; image families make 1."""
    denoising_strength: float = 0.6
    """Of groups with a picture, where the model begins from it: the share of the steps that are made, 0.01 to 1, from
    the first noise level of that share on. 1 leaves nothing of the picture, but where a mask keeps it."""

    def __post_init__(self) -> None:
        require(1 <= self.steps <= 1000, self, "steps", "needs 1 to 1000")
        many = f"needs as many noise levels as there are steps ({self.steps}), or none for the sampler's own"
        require(len(self.sigmas) in (0, self.steps), self, "sigmas", many)
        falling = all(1.0 >= level > after for level, after in pairwise((*self.sigmas, 0.0)))
        require(falling, self, "sigmas", "needs noise levels above 0, at most 1 and each below the one before")
        require(math.isfinite(self.guidance_scale) and self.guidance_scale >= 0, self, "guidance_scale", "needs >= 0")
        for side in ("width", "height"):
            require(8 <= getattr(self, side) <= 8192, self, side, "needs 8 to 8192 pixels")
        require(0 <= self.max_sequence_length <= 4096, self, "max_sequence_length", "needs 0 to 4096 tokens")
        require(1 <= self.frames <= 1024, self, "frames", "needs 1 to 1024")
        require(0.01 <= self.denoising_strength <= 1, self, "denoising_strength", "needs 0.01 to 1")

    @classmethod
    def names(cls, *, pictures: bool) -> list[str]:
        """The fields that act on a group.

        pictures: whether it has any.
        """
        return [field.name for field in fields(cls) if pictures or field.name != "denoising_strength"]

    def settings(self, *, pictures: bool) -> dict[str, Any]:
        """The values of `names`, by name, `sigmas` only where there are some; argument as there."""
        acting = {name: getattr(self, name) for name in self.names(pictures=pictures)}
        return {name: value for name, value in acting.items() if name != "sigmas" or value}


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA that is loaded beside the model; arms say which ones act."""

    name: str
    """Unique among those of the model; letters, digits, "-" and "_"."""
    path: str
    """A file, a folder or a hub id."""
    weight_name: str = ""
    """File in the folder or on the hub, where there are several."""
    revision: str = ""
    """As of a model: `models.loading.revision.content_revision`, or of the hub."""
    scale: float = 1.0
    """Factor on its change of the weights, -10 to 10, besides the alpha that its file has."""

    def __post_init__(self) -> None:
        require(bool(_NAME.fullmatch(self.name)), self, "name", "needs letters, digits, '-' and '_'")
        require(bool(self.path), self, "path", "needs a file, a folder or a hub id")
        require(-10.0 <= self.scale <= 10.0, self, "scale", "needs -10 to 10")


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A part of the model whose weights are quantised when it is loaded."""

    part: str
    """The transformer or a text encoder, as the pipeline names it."""
    method: Quantization
    """How. The package of that name has to be installed."""

    def __post_init__(self) -> None:
        good = self.part.startswith(("transformer", "text_encoder"))
        require(good, self, "part", "needs the transformer or a text encoder")
        require(self.method in get_args(Quantization), self, "method", f"needs one of {get_args(Quantization)}")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model, and how it is loaded."""

    path: str
    """A diffusers pipeline folder or a hub id."""
    revision: str = ""
    """Commit hash, branch or tag on the hub, or the `models.loading.revision.folder_revision` of a local folder."""
    dtype: Dtype = "auto"
    """Of the transformer and the text encoders; "auto" is bfloat16 on a GPU, and on a CPU that has units for it, else
    float32."""
    device: str = "auto"
    """A torch device; "auto" takes CUDA where there is one."""
    variant: str = ""
    """Which of several sets of weight files in the folder, such as "fp16"; "" is the one without a name."""
    drop: tuple[str, ...] = ()
    """For less memory: text encoders that are not loaded, where the family runs without, such as SD3's
    "text_encoder_3" (T5)."""
    scheduler: str = ""
    """Class of the sampler in diffusers, for flow-matching models; "" is the model's own."""
    shift: float = 0.0
    """Fixed shift of the sampler's noise levels towards noise, above 0 and at most 100, in place of the model's own,
    which may depend on the picture's size; 0 is the model's own. Few-step LoRAs name theirs."""
    loras: tuple[Lora, ...] = ()
    """LoRAs that are loaded with the model. All of them act, unless a group says otherwise. Needs the package peft."""
    weights: Weights = "dtype"
    """For less memory: "float8" keeps the transformer's weights in float8_e4m3fn and computes in `dtype`."""
    quantize: tuple[Quantized, ...] = ()
    """For less memory: parts that are quantised while they are loaded, by diffusers and transformers."""
    transformer_file: str = ""
    """For less memory: a local GGUF or safetensors file with the transformer, in place of the one in the folder."""
    transformer_file_revision: str = ""
    """Its `models.loading.revision.content_revision`, as `revision`."""
    vae_slicing: bool = True
    """For less memory: decode one image at a time. A batch of megapixel images would take tens of GB."""
    vae_tiling: bool = False
    """For less memory: decode in overlapping tiles, whose seams change pixels a little."""
    offload: Offload = "none"
    """For less memory: keep on the GPU only the running part of the pipeline ("model"), or only the running layer of
    the transformer ("group")."""
    compile: bool = False
    """For speed: compile the joint blocks with torch.compile, which takes a minute or more on every worker, and needs a
    C++ compiler where the device is a CPU."""

    def __post_init__(self) -> None:
        require(bool(self.path), self, "path", "needs a pipeline folder or a hub id")
        require(self.dtype in get_args(Dtype), self, "dtype", "needs auto, float32, bfloat16 or float16")
        known = ["", *FLOW_MATCHING]
        rule = "needs a flow-matching sampler that draws no noise of its own, which no seed of a row would say"
        require(self.scheduler in known, self, "scheduler", rule + meant(self.scheduler, FLOW_MATCHING))
        require(0.0 <= self.shift <= 100.0, self, "shift", "needs 0 (the model's own) to 100")
        require(self.weights in ("dtype", "float8"), self, "weights", "needs 'dtype' or 'float8'")
        require(self.offload in ("none", "model", "group"), self, "offload", "needs 'none', 'model' or 'group'")
        names = [lora.name for lora in self.loras]
        require(len({*names}) == len(names), self, "loras", "needs each name once")
        require(not self.loras or not self.compile, self, "compile", "needs no loras: switching them compiles anew")
        parts = [quantized.part for quantized in self.quantize]
        require(len({*parts}) == len(parts), self, "quantize", "needs each part once")
        narrow = "transformer" in parts or bool(self.transformer_file)
        require(self.weights == "dtype" or not narrow, self, "weights", "needs a transformer that is not quantised")
        both = "transformer" in parts and bool(self.transformer_file)
        require(not both, self, "transformer_file", "has its own format: quantize the other parts")
        require(not narrow or not self.compile, self, "compile", "needs the transformer of the folder, not quantised")
        whole = self.weights == "dtype" and self.offload != "group"
        require(whole or not self.compile, self, "compile", "needs weights = 'dtype', and no offload by group")

    @property
    def reads_gguf(self) -> bool:
        """Whether `transformer_file` is a GGUF file."""
        return self.transformer_file.endswith(".gguf")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One prompt and the seeds of its images, generated together: the unit of work, of retry and of determinism."""

    prompt: str
    """The positive text."""
    seeds: tuple[int, ...]
    """One seed per image."""
    sampling: Sampling
    """How the sampler runs."""
    pictures: tuple[bytes, ...] = ()
    """The files (PNG, JPEG or WebP) of the pictures to edit, in the order in which the prompt speaks of them."""
    mask: bytes | None = None
    """The file of a picture as large as the first one, white where that is to be painted anew; None for everywhere."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Settings of the interventions that act on the group, at most one of each kind."""
    loras: tuple[Lora, ...] | None = None
    """Those of the model's LoRAs that act, each at this scale; None takes all of them at the model's scales."""

    def __post_init__(self) -> None:
        require(len(self.seeds) >= 1, self, "seeds", "a group needs at least one seed")
        kinds = {type(config) for config in self.interventions}
        require(len(kinds) == len(self.interventions), self, "interventions", "each kind may be there once")

    @property
    def batch_key(self) -> Any:
        """Groups with equal keys can share a denoising batch."""
        given = (len(self.pictures), self.mask is not None)
        return (len(self.seeds), self.sampling, self.interventions, self.loras, given)
