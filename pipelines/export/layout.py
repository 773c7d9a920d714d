"""Which rows go into which file of an export: known before the first file is written, so files can be made anywhere,
in any order, and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.export.rows import Piece


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The chosen rows of a shard file."""

    file: str
    places: NDArray[np.int64]
    """Their numbers in the file."""
    sizes: NDArray[np.int64]
    """The bytes of each in an output file."""
    endings: frozenset[str]
    """Of the image files, such as png."""


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """What a file of the export holds."""

    rows: int
    bytes: int
    """Of the rows, as the format weighs them."""
    pieces: tuple[Piece, ...]
    """Where the rows come from, in order."""


def lay_out(weighed: Iterable[Weighed], room: int) -> Iterator[OutputFile]:
    """Fill files in order, each with at most `room` bytes of rows; a larger row gets a file of its own."""
    filling = _Filling()
    for shard in weighed:
        for place, size in zip(shard.places.tolist(), shard.sizes.tolist(), strict=True):
            if filling.rows and filling.bytes + size > room:
                yield filling.file()
                filling = _Filling()
            filling.add(shard.file, place, size)
    if filling.rows:
        yield filling.file()


class _Filling:
    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self._pieces: list[Piece] = []

    def add(self, source: str, place: int, size: int) -> None:
        if self._pieces and self._pieces[-1].file == source:
            self._pieces[-1] = self._pieces[-1]._replace(end=place + 1)
        else:
            self._pieces.append(Piece(file=source, first=place, end=place + 1))
        self.rows += 1
        self.bytes += size

    def file(self) -> OutputFile:
        return OutputFile(rows=self.rows, bytes=self.bytes, pieces=tuple(self._pieces))
