"""manifest.json: all files of a run, and whether every planned group is in exactly one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from pipelines.dataset import records
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage

FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much was planned, and how much of it was found."""

    prompts_planned: int
    """Prompts that could be used."""
    prompts_failed: int
    """Rows of failed/prompts.parquet."""
    groups_planned: int
    """Groups in plan/."""
    groups_done: int
    """Groups with images."""
    groups_failed: int
    """Groups in failed/."""
    images_kept: int
    """Rows of data/."""
    images_rejected: int
    """Rows of rejected/."""

    def __add__(self, other: Totals) -> Totals:
        return Totals(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


NOTHING = Totals(
    prompts_planned=0,
    prompts_failed=0,
    groups_planned=0,
    groups_done=0,
    groups_failed=0,
    images_kept=0,
    images_rejected=0,
)
"""The totals of no files."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    schema_version: int
    """Of the row contract."""
    fingerprint: str
    """Of the run."""
    complete: bool
    """Whether every planned group is in exactly one place."""
    problems: tuple[str, ...]
    """The first few reasons why the run is not complete."""
    problem_count: int
    """How many reasons there are."""
    totals: Totals
    """Sums over the run."""
    files: tuple[FileEntry, ...]
    """All files, sorted by path."""


def what_is_missing(problems: Sequence[str], count: int) -> str:
    """Why a run is not complete, for messages: how many reasons there are, and the first of them.

    problems: the first few reasons.
    count: how many there are.
    """
    first = next(iter(problems), "its manifest.json does not say what")
    return first if count <= 1 else f"{count:,} problems, the first: {first}"


def read(output: Storage, advice: str) -> Manifest:
    """The manifest of a run.

    output: the output folder.
    advice: what to do where the file is damaged, for the message.

    Raises:
        FileNotFoundError: when there is none.
        UserError: when the file is damaged.
    """
    return records.read(output, FILE, Manifest, advice)


def write(output: Storage, manifest: Manifest) -> None:
    """Write manifest.json."""
    records.write(output, FILE, manifest)
