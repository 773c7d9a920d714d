"""Reads the groups of a prompt and their pictures, as thumbnails, from the shard that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import parquet
from pipelines.dataset.names import image_files, shard_file
from pipelines.dataset.prompt_columns import SOURCE_IMAGES, SOURCE_MASK
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.gallery.pick import Pick
from pipelines.gallery.small import Small, small, small_source

IMAGES_PER_GROUP = 16
"""Most pictures of a group on a page."""

_ROWS_AT_A_TIME = 16

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture or a video."""

    row: Row
    """Its columns, without the pixels."""
    small: Small
    """What the page shows of it."""


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """A group."""

    plan: Row
    """Its row of the plan."""
    shots: list[Shot]
    """Its first pictures, by index."""
    error: str | None
    """Why it has no pictures; None where it has some."""

    @property
    def vendi(self) -> float | None:
        """Vendi score of the group; None without pictures."""
        return self.shots[0].row["group_vendi"] if self.shots else None

    @property
    def score(self) -> float | None:
        """Mean clip_score of the pictures shown; None without pictures."""
        return sum(shot.row["clip_score"] for shot in self.shots) / len(self.shots) if self.shots else None


@dataclass(frozen=True, kw_only=True)
class CardView:
    """A prompt."""

    groups: list[GroupView]
    """The first group of each arm, in the order of the arms."""
    groups_per_arm: int
    """Number of groups that each arm has of the prompt."""
    sources: list[Small]
    """The pictures that it edits."""
    mask: Small | None
    """What of the first one is painted anew; None for everything."""

    @property
    def bytes(self) -> int:
        """Size of the thumbnails."""
        shots = [shot.small for group in self.groups for shot in group.shots]
        shown = [*shots, *self.sources, *([self.mask] if self.mask else [])]
        return sum(len(one.still) + len(one.moving) for one in shown)


def read_cards(output: Storage, picks: Iterable[Pick], max_bytes: int) -> list[CardView]:
    """The cards of prompts in order, as many as fit, at least one.

    output: the output folder.
    picks: the prompts.
    max_bytes: most bytes of thumbnails.
    """
    cards: list[CardView] = []
    total = 0
    sources = Sources(output)
    for pick in picks:
        card = _read_card(output, pick, sources)
        total += card.bytes
        if cards and total > max_bytes:
            break
        cards.append(card)
    return cards


def _read_card(output: Storage, pick: Pick, sources: Sources) -> CardView:
    with parquet.opened(output, pick.file) as file:
        plan = file.group(pick.row_group)
    planned = [row for row in plan.to_pylist() if row["prompt_id"] == pick.prompt_id]
    first: dict[str, Row] = {}
    for row in planned:
        first.setdefault(row["arm"], row)
    wanted = pa.array([row["group_id"] for row in first.values()])
    name = shard_file(pick.shard)
    shots: dict[str, list[Shot]] = {}
    for path in image_files(output, name):
        for row in _rows(output, path, wanted):
            if row["index_in_group"] < IMAGES_PER_GROUP:
                shots.setdefault(row["group_id"], []).append(_shot(row))
    failures: dict[str, Row] = {}
    if output.exists(f"failed/{name}"):
        failures = {row["group_id"]: row for row in _rows(output, f"failed/{name}", wanted)}
    groups = [
        GroupView(
            plan=row,
            shots=sorted(shots.get(row["group_id"], []), key=lambda shot: int(shot.row["index_in_group"])),
            error=_error(failures.get(row["group_id"])) if row["group_id"] not in shots else None,
        )
        for row in first.values()
    ]
    edited, mask = planned[0].get(SOURCE_IMAGES) or [], planned[0].get(SOURCE_MASK)
    files = sources.read([*edited, *([mask] if mask else [])]) if edited else {}
    return CardView(
        groups=groups,
        groups_per_arm=sum(row["arm"] == planned[0]["arm"] for row in planned),
        sources=[small_source(files[one]) for one in edited],
        mask=small_source(files[mask]) if mask else None,
    )


def _error(failure: Row | None) -> str:
    return "not finished yet" if failure is None else f"{failure['error_type']}: {failure['error']}"


def _rows(output: Storage, path: str, group_ids: pa.Array[Any]) -> Iterator[Row]:
    """Rows of some groups, without image vectors, a few at a time: a row group of large pictures may not fit in
    memory."""
    with parquet.opened(output, path) as file:
        columns = [field.name for field in file.schema if not pa.types.is_fixed_size_list(field.type)]
        for number in range(len(file.rows_of_groups)):
            ids = file.group(number, ["group_id"])["group_id"]
            if not pc.any(pc.is_in(ids, group_ids)).as_py():
                continue
            for batch in file.batches(_ROWS_AT_A_TIME, columns, number):
                yield from batch.filter(pc.is_in(batch["group_id"], group_ids)).to_pylist()


def _shot(row: Row) -> Shot:
    rest = {name: value for name, value in row.items() if name != "image"}
    return Shot(row=rest, small=small(row["image"]["bytes"], row["frames"]))
