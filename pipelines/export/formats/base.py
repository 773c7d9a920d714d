"""The interface of an export format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file of an export."""

    path: str
    """Relative to the target folder."""
    rows: int
    """Number of images."""
    bytes: int
    """Its size."""


class Format(Protocol):
    """How images become files. Splits are `train` for kept images and `rejected` for dropped ones."""

    name: str
    """The value of `--format`."""

    def load(self, files: int) -> str:
        """Markdown for the card: how to read the export, in its folder.

        files: number of files of the split `train`.
        """

    def path(self, split: str, number: int, count: int) -> str:
        """The path of a file, relative to the target folder.

        split: name of the split.
        number: of the file, from 0.
        count: number of files of the split.
        """

    def pattern(self, split: str) -> str:
        """A glob for the files of a split."""

    def room(self, file_bytes: int) -> int:
        """Bytes of rows that fit into a file of `file_bytes` bytes; below 1 where none do."""

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        """The bytes of each row in a file, int64 [rows].

        Raises:
            ValueError: when the format cannot hold a row; the message names row and column.
        """

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Write one file; equal rows give equal bytes.

        file: open for writing.
        tables: the rows, in the schema.
        schema: of the rows.
        """

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        """The Hugging Face features that a reader of the files finds.

        schema: of the rows.
        endings: of the image files, such as png.
        """

    def index(self, split: str, files: Sequence[Written]) -> Mapping[str, bytes]:
        """Small files beside those of a split: path -> content.

        split: name of the split.
        files: its files.
        """
