"""The interface of an export format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset.storage import Storage
from pipelines.export.parts import Part


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file of an export."""

    path: str
    """Relative to the target folder."""
    rows: int
    """Number of images."""
    bytes: int
    """Its size."""
    beside: tuple[int, ...] = ()
    """The sizes of the files beside it."""

    @property
    def whole_bytes(self) -> int:
        """Its size with theirs."""
        return self.bytes + sum(self.beside)


Beside = Callable[[str, bytes], None]
"""Writes a whole file, by its name, into the folder of the one that is being written."""


class Format(Protocol):
    """How images become files."""

    name: str
    """The value of `--format`."""
    labelled: bool
    """Whether columns can be labels in it."""
    videos: bool
    """Whether it can hold videos."""

    def load(self, files: int, schema: pa.Schema) -> str:
        """Markdown for the card: how to read the export, in its folder.

        files: number of files of the split `train`.
        schema: of the rows.
        """

    def path(self, part: Part, number: int, count: int) -> str:
        """The path of a file, relative to the target folder.

        part: whose rows it has.
        number: of the file, from 0.
        count: number of files of the part.
        """

    def pattern(self, part: Part) -> str:
        """A glob for what readers read of a part."""

    def room(self, file_bytes: int) -> int:
        """Bytes of rows that fit into a file of `file_bytes` bytes; below 1 where none do."""

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        """The bytes of each row in a file, and beside it, int64 [rows].

        Raises:
            ValueError: when the format cannot hold a row; the message names row and column.
        """

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        """Write one file; equal rows give equal bytes.

        file: open for writing; it appears when all is written.
        tables: the rows, in the schema.
        schema: of the rows.
        beside: for formats with a file per image.
        """

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        """Paths of the files that `write` has put beside a file; none for most formats.

        folder: of the export.
        path: of the file, which is there.
        """

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        """The Hugging Face features that a reader of the files finds; none where `datasets` does not read the format.

        schema: of the rows.
        endings: of the image files, such as png.
        """

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        """Write what tells readers which files there are, and return the paths; none for some formats.

        folder: of the export.
        files: part -> its files, which are there.
        schema: of the rows.
        labels: the value of `--label`, for formats that are `labelled`.
        """
