"""The parts of an export: kept images and dropped ones, each in splits that share no prompt or no concept.

The split of a row is decided by a hash of its text alone, so that it stays the same when a run is extended, in every
format and with every other choice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.errors import UserError

KEPT = "data"
TRAIN = "train"
BY = ("prompt", "concept", "prompt_id")
"""Columns that can decide the split. All images of a group have the same text in them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an export."""

    folder: str
    """`data` for kept images, `rejected` for dropped ones, as in a run."""
    split: str
    """Name of the split."""

    @property
    def name(self) -> str:
        """`train` and so on; `rejected` and `rejected-test` for dropped images."""
        if self.folder == KEPT:
            return self.split
        return self.folder if self.split == TRAIN else f"{self.folder}-{self.split}"

    @property
    def config(self) -> str:
        """Name of its Hugging Face config."""
        return "default" if self.folder == KEPT else self.folder


@dataclass(frozen=True, kw_only=True)
class Splits:
    """How rows are divided."""

    by: str = BY[0]
    """A column of `BY`."""
    shares: dict[str, float] = field(default_factory=dict)
    """Name -> share of the values of the column, sorted by name; what is left is `train`."""

    @property
    def names(self) -> tuple[str, ...]:
        """All splits, `train` first."""
        return (TRAIN, *self.shares)

    def of(self, rows: pa.Table) -> NDArray[np.int8]:
        """The numbers in `names` of the splits of some rows, int8 [rows]."""
        if not self.shares:
            return np.zeros(rows.num_rows, np.int8)
        texts = pc.coalesce(rows[self.by], rows["prompt"]).to_pylist()
        numbers = {text: self._number(str(text)) for text in {*texts}}
        return np.array([numbers[text] for text in texts], np.int8)

    def _number(self, text: str) -> int:
        place = int.from_bytes(hashlib.sha256(f"split\n{text}".encode()).digest()[:8]) / 2**64
        for number, name in enumerate(self.names[1:], start=1):
            place -= self.shares[name]
            if place < 0:
                return number
        return 0


UNDIVIDED = Splits()
"""All rows are in `train`."""


def parse(words: list[str], by: str) -> Splits:
    """The splits that a command line asks for.

    words: such as "test=0.1".
    by: a column of `BY`.

    Raises:
        UserError: when a word is no name with a share, a name comes twice, or nothing is left for `train`.
    """
    shares: dict[str, float] = {}
    for word in words:
        name, _, share = word.partition("=")
        if not name.isidentifier() or not name.islower() or name in (TRAIN, "rejected") or name in shares:
            raise UserError(
                f"--split {word!r}: write NAME=SHARE, such as test=0.1, with a name of small letters that comes once; "
                "train is what is left"
            )
        try:
            shares[name] = float(share)
        except ValueError:
            raise UserError(f"--split {word!r}: {share!r} is no number: write a share such as 0.1") from None
        if not 0 < shares[name] < 1:
            raise UserError(f"--split {word!r}: the share must be above 0 and below 1")
    if sum(shares.values()) >= 1:
        raise UserError(f"--split: the shares add up to {sum(shares.values()):g}, which leaves nothing for train")
    return Splits(by=by, shares=dict(sorted(shares.items()))) if shares else UNDIVIDED
