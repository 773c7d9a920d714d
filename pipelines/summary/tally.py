"""What is counted of a run, per arm and rarity: it adds up shard by shard, so memory does not grow with the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.diversity import average_pair_vendi
from models.statistics import Mean

Floats = NDArray[np.float64]

RARITY_ORDER = ("common", "uncommon", "rare", "unseen")

MOST_RARITIES = 100
OTHER_RARITIES = "(others)"

COLUMNS = (
    "group_id",
    "index_in_group",
    "group_size",
    "arm",
    "rarity",
    "clip_score",
    "clip_margin",
    "group_vendi",
    "duplicate_of",
    "embedding",
    "keep",
    "drop_reason",
)
"""What is read of an image row: everything but the pixels and the settings."""


@dataclass(kw_only=True)
class Cell:
    """What is counted for one arm and one rarity."""

    groups_planned: int = 0
    groups_failed: int = 0
    images: int = 0
    kept: int = 0
    duplicates: int = 0
    drop_reasons: Counter[str] = field(default_factory=Counter)
    clip_score: Mean = field(default_factory=Mean)
    clip_margin: Mean = field(default_factory=Mean)
    group_vendi: Mean = field(default_factory=Mean)
    pair_vendi: Mean = field(default_factory=Mean)
    further: dict[str, Mean] = field(default_factory=dict)
    """Of further scorers, column -> mean: `NAME_clip_score`."""

    def add(self, other: Cell) -> None:
        self.groups_planned += other.groups_planned
        self.groups_failed += other.groups_failed
        self.images += other.images
        self.kept += other.kept
        self.duplicates += other.duplicates
        self.drop_reasons += other.drop_reasons
        self.clip_score += other.clip_score
        self.clip_margin += other.clip_margin
        self.group_vendi += other.group_vendi
        self.pair_vendi += other.pair_vendi
        for column, mean in other.further.items():
            self.further[column] = self.further.get(column, Mean()) + mean


CellKey = tuple[str, str | None]
"""(arm, rarity); the rarity is None where the prompts name none."""


def add_cells(into: dict[CellKey, Cell], cells: dict[CellKey, Cell]) -> None:
    """Add up; rarities past the first `MOST_RARITIES` words (it may be a column of numbers) go into one cell."""
    known = {rarity for _, rarity in into}
    for (arm, rarity), cell in cells.items():
        if rarity not in known and rarity not in RARITY_ORDER and rarity is not None and len(known) >= MOST_RARITIES:
            rarity = OTHER_RARITIES
        known.add(rarity)
        into.setdefault((arm, rarity), Cell()).add(cell)


def rarity_rank(rarity: str | None) -> tuple[int, str]:
    """Sort key: common to unseen, then other words by the alphabet, then none."""
    if rarity is None:
        return (len(RARITY_ORDER) + 1, "")
    return (RARITY_ORDER.index(rarity) if rarity in RARITY_ORDER else len(RARITY_ORDER), rarity)


def over_rarities(cells: dict[CellKey, Cell], arm: str) -> Cell:
    """One arm's cells added up."""
    total = Cell()
    for (of_arm, _), cell in cells.items():
        if of_arm == arm:
            total.add(cell)
    return total


def cell_keys(table: pa.Table) -> list[CellKey]:
    """The cell of each row of a table with the columns `arm` and `rarity`."""
    return cast("list[CellKey]", list(zip(table["arm"].to_pylist(), table["rarity"].to_pylist(), strict=True)))


def arms_of(cells: Iterable[CellKey]) -> tuple[str, ...]:
    """Arms in the order of their first appearance, which is the plan's."""
    return tuple(dict.fromkeys(arm for arm, _ in cells))


def tally_images(images: pa.Table, further: Sequence[str] = ()) -> dict[CellKey, Cell]:
    """Count the scored images of whole groups: a table with `COLUMNS` and the score columns of further scorers, kept
    and rejected rows together."""
    cells: dict[CellKey, Cell] = {}
    if images.num_rows == 0:
        return cells
    groups = _Groups(images)
    keys = cell_keys(images)
    key_of_group = [keys[i] for i in groups.first_row]
    score, score_counts = groups.sums("clip_score")
    margin, margin_counts = groups.sums("clip_margin")
    kept, _ = groups.sums("keep")
    duplicates = groups.counts(~_nulls(images["duplicate_of"]))
    vendi = _numbers(images["group_vendi"])[groups.first_row]
    pairs = groups.pair_vendi()
    of_further = {column: groups.sums(column) for column in further}
    for key in dict.fromkeys(key_of_group):
        here = np.array([k == key for k in key_of_group])
        defined = ~np.isnan(pairs[here])
        cells[key] = Cell(
            images=int(groups.sizes[here].sum()),
            kept=int(kept[here].sum()),
            duplicates=int(duplicates[here].sum()),
            clip_score=Mean.of(score[here], score_counts[here]),
            clip_margin=Mean.of(margin[here], margin_counts[here]),
            group_vendi=Mean.of(vendi[here], np.ones(here.sum(), dtype=np.int64)),
            pair_vendi=Mean.of(np.nan_to_num(pairs[here]), defined.astype(np.int64)),
            further={column: Mean.of(sums[here], counts[here]) for column, (sums, counts) in of_further.items()},
        )
    for key, reason in zip(keys, images["drop_reason"].to_pylist(), strict=True):
        if reason is not None:
            cells[key].drop_reasons[reason] += 1
    return cells


class _Groups:
    """The rows of a table by group."""

    def __init__(self, images: pa.Table) -> None:
        self.images = images
        ids = np.asarray(images["group_id"].to_pylist(), dtype=np.str_)
        _, self.first_row, self.number = np.unique(ids, return_index=True, return_inverse=True)
        self.sizes: NDArray[np.int64] = np.bincount(self.number)

    def counts(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """int64 [groups]: how many of a group's rows are among `rows` (bool [n])."""
        return np.bincount(self.number[rows], minlength=len(self.sizes))

    def sums(self, column: str) -> tuple[Floats, NDArray[np.int64]]:
        """Per group the sum of a column's values (float64 [groups]) and how many are not null (int64 [groups])."""
        known = ~_nulls(self.images[column])
        values = _numbers(self.images[column])[known]
        sums = np.bincount(self.number[known], values, minlength=len(self.sizes))
        return sums.astype(np.float64), self.counts(known)

    def pair_vendi(self) -> Floats:
        """float64 [groups]: average-pair Vendi from the embeddings; nan for a group of one."""
        column: Any = self.images["embedding"].combine_chunks()
        vectors = column.flatten().to_numpy().reshape(len(column), -1)
        by_group = np.argsort(self.number, kind="stable")
        ends = np.cumsum(self.sizes)
        result = np.empty(len(self.sizes))
        for group, (size, end) in enumerate(zip(self.sizes, ends, strict=True)):
            result[group] = average_pair_vendi(vectors[by_group[end - size : end]].astype(np.float32))
        return result


def _nulls(column: pa.ChunkedArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(column.is_null().to_numpy())


def _numbers(column: pa.ChunkedArray[Any]) -> Floats:
    """float64 [n]; nan where null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
