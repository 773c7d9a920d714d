"""The table [prompts] of a run's TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.errors import did_you_mean, require
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats import FORMATS

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Which prompts a run draws."""

    path: str | tuple[str, ...]
    """File, glob or s3:// URI (or several); relative ones start at the working directory."""
    format: str = AUTO
    """The name of a format of `pipelines.prompts.formats`; "auto" goes by the file's ending (.txt is text: one prompt
    per line)."""
    columns: Columns = field(default_factory=Columns)
    limit: int = 0
    """Stop after this many rows; 0 reads all."""
    duplicates: Literal["fail", "keep", "drop"] = "fail"
    """What a repeated prompt text gives: a row in failed/, images of its own, or nothing."""
    max_characters: int = 2000
    """A longer prompt becomes a row in failed/."""

    def __post_init__(self) -> None:
        require(bool(self.path) and all(self.paths), "path", self.path, "needs at least one file")
        if self.format not in (AUTO, *FORMATS):
            known = ", ".join(map(repr, (AUTO, *FORMATS)))
            hint = did_you_mean(self.format, FORMATS)
            raise ValueError(f"prompts.format = {self.format!r}: must be one of {known}{hint}")
        require(self.limit >= 0, "limit", self.limit, "needs 0 (all) or more")
        require(1 <= self.max_characters <= 100_000, "max_characters", self.max_characters, "needs 1 to 100,000")

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path
