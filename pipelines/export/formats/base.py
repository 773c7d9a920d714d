"""What a kind of export is: how images become files."""

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
    """Below the target."""
    rows: int
    """Images in it."""
    bytes: int


class Format(Protocol):
    """How images become files. Splits are `train` for kept images and `rejected` for dropped ones."""

    name: str
    """What `--format` says."""

    def load(self, files: int) -> str:
        """Markdown for the card: how to read an export whose split `train` has so many files, run in its folder."""

    def path(self, split: str, number: int, count: int) -> str:
        """Where the file `number` of `count` lies below the target."""

    def pattern(self, split: str) -> str:
        """A glob for the files of a split."""

    def room(self, file_bytes: int) -> int:
        """Bytes of rows that fit into a file of so many bytes; below 1 where none do."""

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        """Bytes that each row takes. Raises ValueError, naming row and column, for what the format cannot hold."""

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Equal rows give equal bytes."""

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        """Hugging Face features that a reader finds. endings: of the image files, such as png."""

    def index(self, split: str, files: Sequence[Written]) -> Mapping[str, bytes]:
        """Small files beside those of a split: path -> content."""
