"""run.json: the identity of a run. It is written before the plan, and again when the plan is complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from models.errors import require
from pipelines.dataset import records
from pipelines.dataset.names import RUN_RECORD
from pipelines.dataset.records import named
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

FILE = RUN_RECORD
MOST_SHARDS = 10**8
"""Shards that a run may have."""
_ADVICE = "It is damaged, or of another release: use the release that made it, or choose another folder."


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Shards with consecutive numbers that were planned together."""

    first: int
    """Number of the first shard, which begins a plan file."""
    shards: int
    """Number of shards."""
    sources: int = 0
    """Number of files with the pictures that its prompts edit."""

    def __post_init__(self) -> None:
        for name in ("first", "shards", "sources"):
            number = getattr(self, name)
            require(0 <= number <= MOST_SHARDS, name, number, f"needs 0 to {MOST_SHARDS:,}")


@dataclass(frozen=True, kw_only=True)
class PlanCounts:
    """Counts of a plan."""

    prompts: int
    """Prompts that can be used."""
    bad_prompts: int
    """Rows of failed/prompts.parquet."""
    dropped: int
    """Repeated prompts that `prompts.duplicates` drops."""
    groups: int
    """Groups of all prompts and arms."""
    images: int
    """Images of all groups."""
    segments: tuple[Segment, ...]
    """One for the first planning, and one for each extension of the run."""

    @property
    def shards(self) -> int:
        """Number of shards."""
        return sum(segment.shards for segment in self.segments)

    def shard_numbers(self) -> Iterator[int]:
        """The numbers of all shards, in order."""
        for segment in self.segments:
            yield from range(segment.first, segment.first + segment.shards)


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The content of a prompt file, without its path."""

    bytes: int
    """Its size."""
    sha256: str
    """Hash of its content, in hex digits."""


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """The inputs of a plan that the fingerprint does not cover."""

    prompt_files: tuple[PromptFile, ...]
    """In the order of the config."""
    format: str = field(metadata=named("prompts.format"))
    """The setting of this name."""
    limit: int = field(metadata=named("prompts.limit"))
    """The setting of this name."""
    groups_per_prompt: int = field(metadata=named("group.groups_per_prompt"))
    """The setting of this name."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of run.json."""

    schema_version: int
    """Of the row contract: `pipelines.dataset.schema.VERSION` when the run began."""
    fingerprint: str
    """Hash of all settings that change rows."""
    config: dict[str, Any]
    """All settings, table by table. `pipelines.config.recorded` reads one of the tables."""
    libraries: dict[str, str]
    """Name -> version of the libraries on which images depend."""
    plan: PlanCounts | None
    """None until the plan is complete."""
    plan_made_from: PlanInputs | None
    """None until the plan is complete."""


def read(output: Storage) -> RunRecord:
    """The record of the run in an output folder.

    Raises:
        UserError: when there is none, or the file is damaged.
    """
    try:
        return records.read(output, FILE, RunRecord, _ADVICE)
    except FileNotFoundError:
        raise UserError(
            f"{output.uri} has no {FILE}, so it holds no run. Give --dataset the output folder of jobs/synth.py."
        ) from None


def write(output: Storage, record: RunRecord) -> None:
    """Write run.json."""
    records.write(output, FILE, record, indent=2)


def require_files(output: Storage, named: Collection[str], there: Collection[str], what: str) -> None:
    """Check that files of a plan are there.

    output: the output folder.
    named: paths that the segments lead to.
    there: paths that were found.
    what: they hold, as run.json names it, for the message.

    Raises:
        UserError: when one is not.
    """
    if lost := sorted({*named} - {*there}):
        raise UserError(
            f"{output.path(lost[0])} is not there, though {FILE} names {what}. Put it back, from a copy of the folder, "
            "or start the run anew in another one."
        )
