"""The messages between the web process and the workers: a job goes in, events come out. All are plain values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from models.info import ModelInfo
from models.spec import Group
from pipelines.dataset.failures import Failure
from pipelines.dataset.videos import VideoFormat


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a video is besides its group."""

    seconds: float | None
    """How long it is, as near as the model can; None for the frames that the group's sampling says."""
    format: VideoFormat
    """Of the file."""
    fps: int
    """Frames per second; 0 takes the model's."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One group to make."""

    group: Group
    """Its settings."""
    counterfactual: str | None = None
    """As in prompt files."""
    scores: bool = True
    """Whether to score the images."""
    exact: bool = False
    """Whether to denoise it in its own batch."""
    progress: bool = False
    """Whether to send a `Step` after each denoising step."""
    previews: int = 0
    """How many `Preview`s to send."""
    image_format: Literal["png", "webp", "jpeg"] = "png"
    """Of the files."""
    clip: Clip | None = None
    """For videos."""
    names_strength: bool = False
    """Whether its caller has named a denoising strength, which not every model has."""
    jpeg_quality: int = 100
    """Of JPEG files, as in `pipelines.dataset.images.encode_jpeg`."""
    timeout_s: float | None = None
    """Seconds after which the worker stops it; None takes the worker's `timeout_s`."""
    warnings: tuple[str, ...] = ()
    """What its caller should know of settings that are not wrong."""
    caller: str = ""
    """Who waits for it, as in `pipelines.serve.callers`."""

    @property
    def ending(self) -> str:
        """Of the names of its files."""
        return self.image_format if self.clip is None else self.clip.format


@dataclass(frozen=True, kw_only=True)
class Started:
    """The denoising of the group begins."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A denoising step is done."""

    done: int
    """Steps that are done."""
    of: int
    """Steps in all."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What the images look like now."""

    images: tuple[bytes, ...]
    """Small image files, one per image, in the job's format."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a group, as in the columns of these names."""

    clip_model: str
    """The scorer."""
    clip_score: tuple[float, ...]
    """One per image."""
    clip_margin: tuple[float, ...] | None
    """One per image; None without a counterfactual."""
    clip_margin_missing: str | None
    """One for the group, as the next one."""
    clip_tokens_cut: Mapping[str, int] | None
    nearest_similarity: tuple[float, ...] | None
    """One per image; None for a single image, or a scorer without image vectors."""
    temporal_consistency: tuple[float, ...] | None
    """One per video; None for pictures, or a scorer without image vectors."""
    group_vendi: float | None
    """None for a scorer without image vectors."""
    group_pair_similarity: float | None
    """None for a single image, or a scorer without image vectors."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The group is made."""

    images: tuple[bytes, ...]
    """The image files."""
    image_ids: tuple[str, ...]
    """One per image: see `pipelines.dataset.images.image_id`."""
    info: ModelInfo
    """The model."""
    tokens_cut: Mapping[str, int]
    """As in the column of this name, without encoders that the model does not have."""
    negative_tokens_cut: Mapping[str, int]
    """The same; empty where the model did not read it."""
    scores: Scores | None
    """None where scores are off."""
    frames: int
    """Of a video; 1 for pictures."""
    fps: int
    """Frames per second; 0 for pictures."""
    groups_in_batch: int
    """Groups that were denoised together, this one included."""
    generate_s: float
    """Seconds of the denoising batch."""


Event = Started | Step | Preview | Done | Failure
"""A message of a worker about a job."""


TOO_LATE = "too_late"
"""`Failure.error_type` of a job that was not done in its time."""
PICTURE = "picture"
"""`Failure.error_type` of a job whose pictures do not fit the model."""
CALLER_GONE = "caller_gone"
"""`Failure.error_type` of a job whose caller has died; nobody reads it."""


class Overloaded(Exception):
    """The queue is full."""


class Lost(Exception):
    """The worker that had the job has died."""


class Engine(Protocol):
    """Makes groups. Closing the iterator, or the death of its caller, stops the work within one denoising step."""

    def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job: `Started`, any number of `Step` and `Preview`, then `Done` or a `Failure`.

        Raises:
            Overloaded: when the queue is full.
            Lost: when the worker dies.
        """
        ...

    async def ready(self) -> bool:
        """Whether it can make groups now."""
        ...

    async def info(self) -> ModelInfo | None:
        """The model; None while none has been loaded."""
        ...
