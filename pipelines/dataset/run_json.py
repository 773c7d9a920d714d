"""run.json: what a run is. It is written before the plan, and once more when the plan is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.dataset import records
from pipelines.dataset.records import named
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

FILE = "run.json"
_ADVICE = "It is damaged, or of another release: use the release that made it, or choose another folder."


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Shards with consecutive numbers that were planned together; the first one begins a plan file."""

    first: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class PlanCounts:
    """What a plan holds."""

    prompts: int
    """The good ones."""
    bad_prompts: int
    """Rows of failed/prompts.parquet."""
    dropped: int
    """Repeated prompts that `prompts.duplicates` drops."""
    groups: int
    images: int
    segments: tuple[Segment, ...]
    """One for the first planning, and one for each extension of the run."""

    @property
    def shards(self) -> int:
        return sum(segment.shards for segment in self.segments)

    def shard_numbers(self) -> Iterator[int]:
        for segment in self.segments:
            yield from range(segment.first, segment.first + segment.shards)


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The contents of a prompt file, wherever it lies."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """What decides which prompts and groups a plan holds, beside the settings that the fingerprint covers."""

    prompt_files: tuple[PromptFile, ...]
    format: str = field(metadata=named("prompts.format"))
    limit: int = field(metadata=named("prompts.limit"))
    groups_per_prompt: int = field(metadata=named("group.groups_per_prompt"))


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of run.json."""

    schema_version: int
    """Of the row contract: `pipelines.dataset.schema.VERSION` when the run began."""
    fingerprint: str
    config: dict[str, Any]
    """All settings, table by table. `pipelines.config.recorded` reads a table of them."""
    libraries: dict[str, str]
    """Name -> version of the libraries that decide what a run makes."""
    plan: PlanCounts | None
    """None until the plan is whole."""
    plan_made_from: PlanInputs | None
    """None as long as `plan` is."""


def read(output: Storage) -> RunRecord:
    """The record of the run in a folder. Raises UserError where there is none."""
    try:
        return records.read(output, FILE, RunRecord, _ADVICE)
    except FileNotFoundError:
        raise UserError(
            f"{output.uri} has no {FILE}, so it holds no run. Give --dataset the output folder of jobs/synth.py."
        ) from None


def write(output: Storage, record: RunRecord) -> None:
    records.write(output, FILE, record, indent=2)
