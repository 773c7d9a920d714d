"""Counts images and sums scores per arm and rarity, shard by shard: memory does not grow with the run."""

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
"""The standard rarities; prompt files may have others."""

MOST_RARITIES = 100
"""Most rarities that are counted one by one, as the column may hold numbers."""

OTHER_RARITIES = "(others)"
"""Rarity of the cell that counts all others."""

CUT = ("tokens_cut", "negative_tokens_cut", "clip_tokens_cut")
"""The columns that say how much of a text was not read."""

COLUMNS = (
    "group_id",
    "index_in_group",
    "group_size",
    "arm",
    "rarity",
    "clip_score",
    "clip_margin",
    "group_vendi",
    "displacement",
    *CUT,
    "duplicate_of",
    "embedding",
    "keep",
    "drop_reason",
)
"""The columns of an image row that are read: all but the pixels and the settings."""


OF_SOME_RUNS = ("source_similarity", "temporal_consistency")
"""Columns of scores that only runs of edits, or of videos, have."""


@dataclass(kw_only=True)
class Cell:
    """The counts and sums of one arm and one rarity; see `Measures` for what they become."""

    groups_planned: int = 0
    """Groups in plan/."""
    groups_failed: int = 0
    """Groups in failed/."""
    images: int = 0
    """Images made."""
    kept: int = 0
    """Images in data/."""
    duplicates: int = 0
    """Images that repeat an earlier one, as the column `duplicate_of` says."""
    drop_reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> number of images."""
    clip_score: Mean = field(default_factory=Mean)
    """Of the column of this name."""
    clip_margin: Mean = field(default_factory=Mean)
    """Of the column of this name."""
    group_vendi: Mean = field(default_factory=Mean)
    """Of the column of this name, one value per group."""
    pair_vendi: Mean = field(default_factory=Mean)
    """Of the average-pair Vendi scores of the groups."""
    further: dict[str, Mean] = field(default_factory=dict)
    """Score column of a further scorer, such as `NAME_clip_score`, or of `OF_SOME_RUNS` -> its mean."""
    displacement: dict[str, Mean] = field(default_factory=dict)
    """Intervention -> the mean of its field of the column of this name."""
    cut: dict[str, Mean] = field(default_factory=dict)
    """Field of a column of cut tokens, such as `tokens_cut.text_encoder` -> the share of groups in which it is above
    0."""

    def add(self, other: Cell) -> None:
        """Add the counts and sums of further images."""
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
        for mine, others in (
            (self.further, other.further),
            (self.displacement, other.displacement),
            (self.cut, other.cut),
        ):
            for name, mean in others.items():
                mine[name] = mine.get(name, Mean()) + mean


CellKey = tuple[str, str | None]
"""(arm, rarity); the rarity is None where the prompts have none."""


def add_cells(into: dict[CellKey, Cell], cells: dict[CellKey, Cell]) -> None:
    """Add cells to others, in place; rarities beyond the first `MOST_RARITIES` are counted in one cell.

    into: the sums so far.
    cells: what is added.
    """
    known = {rarity for _, rarity in into}
    for (arm, rarity), cell in cells.items():
        if rarity not in known and rarity not in RARITY_ORDER and rarity is not None and len(known) >= MOST_RARITIES:
            rarity = OTHER_RARITIES
        known.add(rarity)
        into.setdefault((arm, rarity), Cell()).add(cell)


def rarity_rank(rarity: str | None) -> tuple[int, str]:
    """Sort key of a rarity: common to unseen, then others by the alphabet, then None."""
    if rarity is None:
        return (len(RARITY_ORDER) + 1, "")
    return (RARITY_ORDER.index(rarity) if rarity in RARITY_ORDER else len(RARITY_ORDER), rarity)


def over_rarities(cells: dict[CellKey, Cell], arm: str) -> Cell:
    """The sum of an arm's cells over all rarities."""
    total = Cell()
    for (of_arm, _), cell in cells.items():
        if of_arm == arm:
            total.add(cell)
    return total


def cell_keys(table: pa.Table) -> list[CellKey]:
    """The cell of each row of a table with the columns `arm` and `rarity`."""
    return cast("list[CellKey]", list(zip(table["arm"].to_pylist(), table["rarity"].to_pylist(), strict=True)))


def arms_of(cells: Iterable[CellKey]) -> tuple[str, ...]:
    """Arms in the order of their first appearance, which is that of the plan."""
    return tuple(dict.fromkeys(arm for arm, _ in cells))


def further_columns(scorers: Sequence[str]) -> list[str]:
    """The columns of further scorers that are read.

    scorers: their names.
    """
    return [f"{scorer}_{column}" for scorer in scorers for column in ("clip_score", "clip_tokens_cut")]


def tally_images(images: pa.Table, further: Sequence[str] = ()) -> dict[CellKey, Cell]:
    """The cells of the scored images of whole groups.

    images: kept and rejected rows, with `COLUMNS`, `further_columns` and those of `OF_SOME_RUNS` that there are.
    further: names of the further scorers.
    """
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
    scores = [column for column in OF_SOME_RUNS if column in images.column_names]
    scores += [f"{scorer}_clip_score" for scorer in further]
    of_further = {column: groups.sums(column) for column in scores}
    moved = groups.fields("displacement")
    cut = {
        f"{column}.{field}": ((sums > 0).astype(np.float64), (counts > 0).astype(np.int64))
        for column in (*CUT, *(f"{scorer}_clip_tokens_cut" for scorer in further))
        for field, (sums, counts) in groups.fields(column).items()
    }
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
            displacement={name: Mean.of(sums[here], counts[here]) for name, (sums, counts) in moved.items()},
            cut={name: Mean.of(sums[here], counts[here]) for name, (sums, counts) in cut.items()},
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
        """How many of each group's rows are among `rows` (bool [n]), int64 [groups]."""
        return np.bincount(self.number[rows], minlength=len(self.sizes))

    def sums(self, column: str) -> tuple[Floats, NDArray[np.int64]]:
        """For each group the sum of a column (float64 [groups]) and how many values are not null (int64 [groups])."""
        return self._sums(self.images[column])

    def fields(self, column: str) -> dict[str, tuple[Floats, NDArray[np.int64]]]:
        """`sums` of each field of a struct column."""
        of_rows: Any = self.images[column].combine_chunks()
        return {one.name: self._sums(pa.chunked_array([of_rows.field(one.name)])) for one in of_rows.type}

    def _sums(self, column: pa.ChunkedArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
        known = ~_nulls(column)
        values = _numbers(column)[known]
        sums = np.bincount(self.number[known], values, minlength=len(self.sizes))
        return sums.astype(np.float64), self.counts(known)

    def pair_vendi(self) -> Floats:
        """Average-pair Vendi scores from the embeddings, float64 [groups]; NaN for a group of one."""
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
    """A column as float64 [n], NaN where it is null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
