"""The table [prompts] of a run's TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.errors import did_you_mean, require
from pipelines.prompts.columns import Columns
from pipelines.prompts.encodings import is_encoding
from pipelines.prompts.expansion.config import Expand
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.templates.config import Template

AUTO = "auto"
"""Value of `prompts.format` that goes by the file's ending."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of a run."""

    path: str | tuple[str, ...] = ()
    """File, folder or glob, in s3:// and hf:// too, or several; relative paths start at the working directory."""
    template: Template | tuple[Template, ...] = ()
    """A text with slots and their values (or several); its prompts come after those of the files."""
    format: str = AUTO
    """Name of a format of `pipelines.prompts.formats`; "auto" goes by the file's ending (.txt is text: one prompt per
    line; a list of classes has no ending of its own), before .gz or .zst of a compressed one."""
    encoding: str = AUTO
    """Of text, as Python names it, such as "latin-1" or "utf-16-le"; "auto" is UTF-8. A byte order mark says more."""
    columns: Columns = field(default_factory=Columns)
    """Names of the columns; of JSON and Parquet also paths, such as "meta.caption" or "captions.0"."""
    carry: tuple[str, ...] | dict[str, str] = ()
    """Columns that go along into the rows, with their types: names and patterns such as "meta.*", or a table
    { name in rows = "column" }."""
    picture_folders: str | tuple[str, ...] = ()
    """Folders, in s3:// and hf:// too, below which the pictures lie that rows name (`columns.source_image`); a path of
    a row starts at the first of them. () is the folder of the row's own prompt file."""
    expand: Expand | None = None
    """A language model that writes several prompts for each of them; None leaves them as they are."""
    limit: int = 0
    """Stop after this many rows; 0 reads all."""
    duplicates: Literal["fail", "keep", "drop"] = "fail"
    """What a repeated prompt text leads to: a row in failed/, its own images, or nothing."""
    max_characters: int = 2000
    """Longest prompt, 1 to 100,000 characters; a longer one becomes a row in failed/."""

    def __post_init__(self) -> None:
        rule = "needs at least one file, or a table [prompts.template]"
        require(all(self.paths) and bool(self.path or self.template), "path", self.path, rule)
        if self.format not in (AUTO, *FORMATS):
            known = ", ".join(map(repr, (AUTO, *FORMATS)))
            hint = did_you_mean(self.format, FORMATS)
            raise ValueError(f"prompts.format = {self.format!r}: must be one of {known}{hint}")
        carried = [*self.carry, *(self.carry.values() if isinstance(self.carry, dict) else ())]
        require(all(one and isinstance(one, str) for one in carried), "carry", self.carry, "needs names of columns")
        known_encoding = self.encoding == AUTO or is_encoding(self.encoding)
        require(known_encoding, "encoding", self.encoding, "needs auto, or an encoding as Python names it: latin-1")
        require(self.limit >= 0, "limit", self.limit, "needs 0 (all) or more")
        require(all(self.picture_folders_given), "picture_folders", self.picture_folders, "needs names of folders")
        require(1 <= self.max_characters <= 100_000, "max_characters", self.max_characters, "needs 1 to 100,000")

    @property
    def paths(self) -> tuple[str, ...]:
        """`path` as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def picture_folders_given(self) -> tuple[str, ...]:
        """`picture_folders` as a tuple."""
        return (self.picture_folders,) if isinstance(self.picture_folders, str) else self.picture_folders

    @property
    def templates(self) -> tuple[Template, ...]:
        """`template` as a tuple."""
        return (self.template,) if isinstance(self.template, Template) else self.template

    @property
    def sources(self) -> str:
        """Where the prompts come from, for messages."""
        return ", ".join([*self.paths, *["prompts.template"][: len(self.templates)]])
