"""Records of many owners in one temporary file, so that the driver's memory does not grow with them."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RECORDS_PER_BLOCK = 32


class Spill:
    """For each owner a list of records that grows. The file lies in the folder for temporary files (`TMPDIR`), has no
    name there, and is gone with the process.

    kind: type of a record.
    """

    def __init__(self, kind: np.dtype[Any]) -> None:
        self._kind = kind
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        self._blocks: defaultdict[int, list[int]] = defaultdict(list)
        self._next = 0

    def read(self, owner: int, count: int) -> NDArray[Any]:
        """The first records of an owner, as an array of their type.

        owner: number of the owner.
        count: how many records.
        """
        size = self._kind.itemsize * _RECORDS_PER_BLOCK
        needed = self._blocks[owner][: -(-count // _RECORDS_PER_BLOCK)] if count else []
        data = b"".join(os.pread(self._file.fileno(), size, block * size) for block in needed)
        of_owner: NDArray[Any] = np.frombuffer(data, self._kind.base).reshape(-1, *self._kind.shape)
        return of_owner[:count].copy()

    def write(self, owner: int, first: int, records: NDArray[Any]) -> None:
        """Write some records of an owner, after those that there are or in their place.

        owner: number of the owner.
        first: number of the first of them.
        records: in the type of a record.
        """
        blocks, done = self._blocks[owner], 0
        while done < len(records):
            block, at = divmod(first + done, _RECORDS_PER_BLOCK)
            if block == len(blocks):
                blocks.append(self._next)
                self._next += 1
            some = records[done : done + _RECORDS_PER_BLOCK - at]
            place = (blocks[block] * _RECORDS_PER_BLOCK + at) * self._kind.itemsize
            os.pwrite(self._file.fileno(), some.tobytes(), place)
            done += len(some)
