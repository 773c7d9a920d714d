"""manifest.json: every file of a run, and whether every planned group is in exactly one place."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.dataset import records
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage

FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What was planned, and what was found of it."""

    prompts_planned: int
    prompts_failed: int
    groups_planned: int
    groups_done: int
    groups_failed: int
    images_kept: int
    images_rejected: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    schema_version: int
    fingerprint: str
    complete: bool
    problems: tuple[str, ...]
    """The first few reasons why the run is not complete, in words."""
    problem_count: int
    totals: Totals
    files: tuple[FileEntry, ...]
    """By path."""


def read(output: Storage, advice: str) -> Manifest:
    """Raises FileNotFoundError where there is none."""
    return records.read(output, FILE, Manifest, advice)


def write(output: Storage, manifest: Manifest) -> None:
    records.write(output, FILE, manifest)
