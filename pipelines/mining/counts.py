"""Counts pairs in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa

from pipelines.mining.pair import Pair

MOST_PAIRS = 2_000_000
"""Different pairs that are counted at a time, about half a GB."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What some captions hold; small enough to be sent."""

    captions: int
    """How many were read."""
    unreadable: int
    """Rows that are no caption."""
    missed: int
    """Most mentions by which an object's count may be too low; 0 where nothing had to be forgotten."""
    pairs: pa.Table
    """Columns kind, object, attribute and count."""


class Counts:
    """Counts of pairs. Where there are too many, the objects with the fewest mentions are forgotten (lossy counting).

    most: pairs to remember.
    """

    def __init__(self, most: int = MOST_PAIRS) -> None:
        self._most = most
        self._counts: Counter[Pair] = Counter()
        self.captions = self.unreadable = self.missed = 0
        """See `Counted`."""

    def add(self, pairs: Iterable[Pair]) -> None:
        """Count some pairs."""
        self._counts.update(pairs)
        self._forget()

    def merge(self, other: Counted) -> None:
        """Add what was counted elsewhere."""
        self.captions += other.captions
        self.unreadable += other.unreadable
        self.missed += other.missed
        columns = [other.pairs[name].to_pylist() for name in ("kind", "object", "attribute", "count")]
        for kind, object, attribute, count in zip(*columns, strict=True):
            self._counts[Pair(kind, object, attribute)] += count
        self._forget()

    def counted(self) -> Counted:
        """Everything counted so far, in an order that the order of counting does not change."""
        pairs = sorted(self._counts)
        columns = zip(*pairs, strict=True) if pairs else ((), (), ())
        table = pa.table(
            [*(pa.array(column, pa.string()) for column in columns), [self._counts[pair] for pair in pairs]],
            schema=_SCHEMA,
        )
        return Counted(captions=self.captions, unreadable=self.unreadable, missed=self.missed, pairs=table)

    def of_objects(self) -> Iterator[tuple[str, str, Mapping[str, int]]]:
        """(kind, object, attribute -> count), sorted."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for pair in sorted(self._counts):
            found.setdefault((pair.kind, pair.object), {})[pair.attribute] = self._counts[pair]
        for (kind, object), counts in found.items():
            yield kind, object, counts

    def _forget(self) -> None:
        if len(self._counts) <= self._most:
            return
        mentions: Counter[str] = Counter()
        pairs: Counter[str] = Counter()
        for pair, count in self._counts.items():
            mentions[pair.object] += count
            pairs[pair.object] += 1
        rarest = sorted(mentions, key=lambda object: mentions[object])
        gone = accumulate(pairs[object] for object in rarest)
        fewest = next(
            mentions[o] for o, n in zip(rarest, gone, strict=True) if len(self._counts) - n <= self._most // 2
        )
        self.missed += fewest
        self._counts = Counter({pair: n for pair, n in self._counts.items() if mentions[pair.object] > fewest})


_FIELDS: list[pa.Field[Any]] = [
    pa.field("kind", pa.string()),
    pa.field("object", pa.string()),
    pa.field("attribute", pa.string()),
    pa.field("count", pa.int64()),
]
_SCHEMA = pa.schema(_FIELDS)
