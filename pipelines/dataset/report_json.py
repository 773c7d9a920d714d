"""report.json: what a run made, and how its arms compare."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.dataset import records
from pipelines.dataset.progress_json import Timings
from pipelines.dataset.storage import Storage

FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """mean +- half_width is the 95 % interval, with the group as the sampling unit."""

    mean: float | None
    """None where no image has a value."""
    half_width: float | None
    """None for fewer than two groups."""
    groups: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of the whole run."""

    prompts: int
    prompts_failed: int
    groups: int
    """All that were planned."""
    groups_done: int
    groups_failed: int
    images: int
    images_kept: int
    images_rejected: int


@dataclass(frozen=True, kw_only=True)
class OfArm:
    """Which groups are measured: those of an arm."""

    arm: str


@dataclass(frozen=True, kw_only=True)
class OfArmAndRarity(OfArm):
    """Which groups are measured: those of an arm whose prompts name this rarity, or none."""

    rarity: str | None


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Of some groups; scores and diversity are over all their scored images, kept and dropped."""

    groups: int
    groups_failed: int
    images: int
    kept: int
    duplicates: int
    drop_reasons: dict[str, int]
    """Why images were dropped -> how many."""
    clip_score: Interval
    clip_margin: Interval
    group_vendi: Interval
    """Vendi score of a group's image embeddings, from 1 to the group size."""
    pair_vendi: Interval
    """Mean Vendi score over pairs of a group, from 1 to 2, comparable between group sizes."""
    further: dict[str, Interval] | None = None
    """The score columns of further scorers, such as `b32_clip_score`; None where the run has none."""


@dataclass(frozen=True, kw_only=True)
class ArmResult(Measures, OfArm):
    """An arm over all rarities. (Fields of the last base come first in the file.)"""


@dataclass(frozen=True, kw_only=True)
class RarityResult(Measures, OfArmAndRarity):
    """An arm at one rarity."""


@dataclass(frozen=True, kw_only=True)
class TimeSpent(Timings):
    """Timings of progress.json with what follows from them."""

    images_per_second: float | None = None
    """None where no time was spent."""
    busy_share: dict[str, float]
    """Part of a stage -> share of its workers' time."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of report.json. Timings are the only part that differs between equal runs."""

    fingerprint: str
    complete: bool
    """Every planned group is in exactly one place, as manifest.json says."""
    counts: Counts
    by_arm: tuple[ArmResult, ...]
    by_arm_and_rarity: tuple[RarityResult, ...]
    notes: dict[str, str]
    """How to read the numbers."""
    timings: TimeSpent | None = None
    """None where no session has noted any."""


def read(output: Storage, advice: str) -> Report:
    """Raises FileNotFoundError where there is none."""
    return records.read(output, FILE, Report, advice)


def write(output: Storage, report: Report) -> None:
    records.write(output, FILE, report)
