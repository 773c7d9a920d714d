"""What a plan holds, in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Shards with consecutive numbers that were planned together; the first one begins a plan file."""

    first: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class PlanCounts:
    """What a plan holds. prompts: the good ones; bad_prompts: rows of failed/prompts.parquet; dropped: repeats."""

    prompts: int
    bad_prompts: int
    dropped: int
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
