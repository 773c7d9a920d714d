"""The table [prompts] of a run's TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.errors import did_you_mean, require
from pipelines.prompts.columns import Columns
from pipelines.prompts.formats import FORMATS

AUTO = "auto"
"""Value of `prompts.format` that goes by the file's ending."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of a run."""

    path: str | tuple[str, ...]
    """File, glob or s3:// URI (or several); relative paths start at the working directory."""
    format: str = AUTO
    """Name of a format of `pipelines.prompts.formats`; "auto" goes by the file's ending (.txt is text: one prompt per
    line)."""
    columns: Columns = field(default_factory=Columns)
    """Names of the columns."""
    carry: tuple[str, ...] | dict[str, str] = ()
    """Columns that go along into the rows, with their types: names and patterns such as "meta.*", or a table
    { name in rows = "column" }."""
    limit: int = 0
    """Stop after this many rows; 0 reads all."""
    duplicates: Literal["fail", "keep", "drop"] = "fail"
    """What a repeated prompt text leads to: a row in failed/, its own images, or nothing."""
    max_characters: int = 2000
    """Longest prompt, 1 to 100,000 characters; a longer one becomes a row in failed/."""

    def __post_init__(self) -> None:
        require(bool(self.path) and all(self.paths), "path", self.path, "needs at least one file")
        if self.format not in (AUTO, *FORMATS):
            known = ", ".join(map(repr, (AUTO, *FORMATS)))
            hint = did_you_mean(self.format, FORMATS)
            raise ValueError(f"prompts.format = {self.format!r}: must be one of {known}{hint}")
        carried = [*self.carry, *(self.carry.values() if isinstance(self.carry, dict) else ())]
        require(all(one and isinstance(one, str) for one in carried), "carry", self.carry, "needs names of columns")
        require(self.limit >= 0, "limit", self.limit, "needs 0 (all) or more")
        require(1 <= self.max_characters <= 100_000, "max_characters", self.max_characters, "needs 1 to 100,000")

    @property
    def paths(self) -> tuple[str, ...]:
        """`path` as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path
