"""report.json: the results of a run, arm by arm."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.dataset import records
from pipelines.dataset.progress_json import Quotas, Timings
from pipelines.dataset.storage import Storage

FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval, mean +- half_width, with the group as the sampling unit."""

    mean: float | None
    """None where no image has a value."""
    half_width: float | None
    """None for fewer than two groups."""
    groups: int
    """Groups with a value."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of the whole run."""

    prompts: int
    """Prompts that could be used."""
    prompts_failed: int
    """Rows of failed/prompts.parquet."""
    groups: int
    """Groups that were planned."""
    groups_done: int
    """Groups with images."""
    groups_failed: int
    """Groups in failed/."""
    images: int
    """Images made, kept and rejected."""
    images_kept: int
    """Rows of data/."""
    images_rejected: int
    """Rows of rejected/."""


@dataclass(frozen=True, kw_only=True)
class OfArm:
    """Which groups are measured: those of an arm."""

    arm: str
    """Name of the arm."""


@dataclass(frozen=True, kw_only=True)
class OfArmAndRarity(OfArm):
    """Which groups are measured: those of an arm with one rarity."""

    rarity: str | None
    """As in the prompt file; None for prompts without one."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Results over some groups; scores and diversity are over all their scored images, kept and dropped."""

    groups: int
    """Groups that were planned."""
    groups_failed: int
    """Groups in failed/."""
    images: int
    """Images made."""
    kept: int
    """Images in data/."""
    duplicates: int
    """Images that repeat an earlier one, as the column `duplicate_of` says."""
    drop_reasons: dict[str, int]
    """Reason -> number of images that were dropped for it."""
    clip_score: Interval
    """Cosine between image and prompt."""
    clip_margin: Interval
    """Cosine to the prompt minus cosine to the counterfactual."""
    group_vendi: Interval
    """Vendi score of a group's image embeddings, from 1 to the group size."""
    pair_vendi: Interval
    """Mean Vendi score over the pairs of a group, from 1 to 2, comparable between group sizes."""
    displacement: dict[str, Interval] | None = None
    """Intervention -> the column of this name; None where no intervention edits text."""
    cut: dict[str, float] | None = None
    """Field of a column such as `tokens_cut.text_encoder` -> the share of groups whose text was longer than is read
    there; None where nothing says so."""
    further: dict[str, Interval] | None = None
    """The score columns of further scorers, such as `b32_clip_score`, and those that only runs of edits or videos have
    (`source_similarity`, `temporal_consistency`); None where the run has none."""


@dataclass(frozen=True, kw_only=True)
class ArmResult(Measures, OfArm):
    """An arm over all rarities. (Fields of the last base come first in the file.)"""


@dataclass(frozen=True, kw_only=True)
class RarityResult(Measures, OfArmAndRarity):
    """An arm at one rarity."""


@dataclass(frozen=True, kw_only=True)
class TimeSpent(Timings):
    """The timings of progress.json, with rates."""

    images_per_second: float | None = None
    """None where no time was spent."""
    busy_share: dict[str, float]
    """Part of a stage -> share of its workers' time, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of report.json. Timings are the only part that differs between equal runs."""

    fingerprint: str
    """Of the run."""
    complete: bool
    """As in manifest.json: every planned group is in exactly one place."""
    counts: Counts
    """Counts of the whole run."""
    by_arm: tuple[ArmResult, ...]
    """In the order of the config."""
    by_arm_and_rarity: tuple[RarityResult, ...]
    """Every arm at every rarity of its prompts."""
    notes: dict[str, str]
    """Measure -> how to read it."""
    warnings: tuple[str, ...] = ()
    """What is odd about the results, one sentence each."""
    quotas: Quotas | None = None
    """None where the run has no quotas."""
    timings: TimeSpent | None = None
    """None where progress.json has none."""


def read(output: Storage, advice: str) -> Report:
    """The report of a run.

    output: the output folder.
    advice: what to do where the file is damaged, for the message.

    Raises:
        FileNotFoundError: when there is none.
        UserError: when the file is damaged.
    """
    return records.read(output, FILE, Report, advice)


def write(output: Storage, report: Report) -> None:
    """Write report.json."""
    records.write(output, FILE, report)
