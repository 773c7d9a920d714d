"""What passes between the web side and the workers: a job goes in, events come out. Plain values, cheap to send."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from models.generator import ModelInfo
from models.spec import Group
from pipelines.dataset.failures import Failure


@dataclass(frozen=True, kw_only=True)
class Job:
    """One group to make. exact: in a batch of its own; progress: send a `Step` after each denoising step."""

    group: Group
    counterfactual: str | None = None
    scores: bool = True
    exact: bool = False
    progress: bool = False
    image_format: Literal["png", "webp"] = "png"


@dataclass(frozen=True, kw_only=True)
class Started:
    """The group is in a denoising batch."""


@dataclass(frozen=True, kw_only=True)
class Step:
    done: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of a group of B images: per image the clip score, margin and nearest similarity; group Vendi score and mean
    pair similarity (None where a single image has none, or the scorer gives no image vectors)."""

    clip_model: str
    clip_score: tuple[float, ...]
    clip_margin: tuple[float, ...] | None
    nearest_similarity: tuple[float, ...] | None
    group_vendi: float | None
    group_pair_similarity: float | None


@dataclass(frozen=True, kw_only=True)
class Done:
    """The images as files. groups_in_batch: groups that were denoised together, this one included."""

    images: tuple[bytes, ...]
    image_ids: tuple[str, ...]
    info: ModelInfo
    scores: Scores | None
    groups_in_batch: int
    generate_s: float


Event = Started | Step | Done | Failure


class Overloaded(Exception):
    """The queue is full."""


class Lost(Exception):
    """The worker that had the job is gone."""


class Engine(Protocol):
    """Makes groups. Closing the iterator stops the work within one denoising step."""

    def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        """`Started`, any number of `Step`, then `Done` or a `Failure`. Raises Overloaded or Lost."""
        ...

    async def ready(self) -> bool: ...
