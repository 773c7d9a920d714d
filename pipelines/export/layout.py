"""Assigns the rows of an export to its files, before any file is written: so files can be written in any order, by any
worker, and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.export.rows import Piece


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The chosen rows of a shard file."""

    file: str
    """The shard file, relative to the output folder of the run."""
    places: NDArray[np.int64]
    """int64 [rows]: their numbers in the shard file."""
    sizes: NDArray[np.int64]
    """int64 [rows]: their bytes in a file of the export."""
    splits: NDArray[np.int8]
    """int8 [rows]: numbers of their splits."""
    endings: frozenset[str]
    """Endings of the image files, such as png."""


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """The rows of a file of the export."""

    rows: int
    """Number of rows."""
    bytes: int
    """Their bytes, from `Format.sizes`."""
    pieces: tuple[Piece, ...]
    """Their sources, in order."""


def lay_out(weighed: Iterable[Weighed], room: int, splits: Sequence[str]) -> dict[str, list[OutputFile]]:
    """Split -> its files, filled in order; a row larger than `room` gets its own file.

    weighed: the chosen rows, shard by shard.
    room: most bytes of rows in a file.
    splits: their names.
    """
    files: dict[str, list[OutputFile]] = {name: [] for name in splits}
    fillings = {name: _Filling() for name in splits}
    for shard in weighed:
        of_rows = zip(shard.places.tolist(), shard.sizes.tolist(), shard.splits.tolist(), strict=True)
        for place, size, number in of_rows:
            name = splits[number]
            if fillings[name].rows and fillings[name].bytes + size > room:
                files[name].append(fillings[name].file())
                fillings[name] = _Filling()
            fillings[name].add(shard.file, place, size)
    for name, filling in fillings.items():
        if filling.rows:
            files[name].append(filling.file())
    return files


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
