"""The labelled images of a finished run, with all columns of their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config.acceptance import Expression, Values, check_columns
from pipelines.dataset import parquet, schema
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun, check
from pipelines.dataset.score_columns import own_columns
from pipelines.errors import UserError

_NUMBERS = (pa.float32(), pa.int32())
_ROWS = [*score_files.KEYS, "prompt_id", "prompt", "rarity"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """N labelled images, and the groups that they are of."""

    good_N: NDArray[np.bool_]
    """Their labels."""
    prompt_N: NDArray[np.int64]
    """The number of each one's prompt."""
    image_ids: Sequence[str]
    """Their ids."""
    rarity_N: Sequence[str]
    """As in the rows; "" for none."""
    _groups: pa.Table
    """All images of their groups, group by group."""
    _places_N: NDArray[np.int64]
    """Their rows in it."""

    @property
    def columns(self) -> list[str]:
        """The columns that a rule may read."""
        return [field.name for field in self._groups.schema if field.type in _NUMBERS and field.name not in _ROWS]

    @property
    def scores(self) -> list[str]:
        """The columns that say something of an image alone: scores, margins, and a kind's own."""
        endings = ("clip_score", "clip_margin")
        own = own_columns(self._groups.schema)
        return [name for name in self.columns if name.endswith(endings) or name in own]

    def values(self, rule: Expression) -> Values:
        """What a rule gives for the images.

        rule: it may read all columns; what it says of a group is of the whole group.

        Raises:
            ValueError: when it reads a column that is not there.
        """
        check_columns(rule, self.columns)
        found: list[object] = []
        ids = self._groups["group_id"].to_pylist()
        ends = [at for at in range(1, len(ids) + 1) if at == len(ids) or ids[at] != ids[at - 1]]
        columns = {name: self._groups[name].to_pylist() for name in rule.columns}
        for start, end in zip([0, *ends], ends, strict=False):
            found += rule.values({name: values[start:end] for name, values in columns.items()}, end - start)
        return [found[place] for place in self._places_N]


def labelled(run: FinishedRun, label: Callable[[pa.Table], list[bool | None]], *, pixels: bool) -> Labelled:
    """The labelled images of a run.

    run: the finished run.
    label: gives the labels of some rows, None for those without one.
    pixels: whether `label` reads the column image.

    Raises:
        UserError: when there are none, or a file is damaged.
    """
    groups: list[pa.Table] = []
    labels: list[bool | None] = []
    for rows in _shards(run, pixels=pixels):
        said = label(rows)
        ids = rows["group_id"].to_pylist()
        wanted = {group for group, one in zip(ids, said, strict=True) if one is not None}
        numbers = {group: number for number, group in enumerate(dict.fromkeys(ids))}
        order = sorted((at for at, group in enumerate(ids) if group in wanted), key=lambda at: (numbers[ids[at]], at))
        groups.append(rows.take(pa.array(order, pa.int64())).drop_columns(["image"] if pixels else []))
        labels += [said[at] for at in order]
    table = pa.concat_tables(groups)
    places = np.array([at for at, one in enumerate(labels) if one is not None], dtype=np.int64)
    if not len(places):
        raise UserError(f"{run.dataset.uri} has no image with one of these labels: image_id is as in its rows")
    own = table.take(places)
    _, prompts = np.unique(np.array(own["prompt_id"].to_pylist()), return_inverse=True)
    return Labelled(
        good_N=np.array([labels[at] for at in places], dtype=bool),
        prompt_N=prompts.astype(np.int64),
        image_ids=[str(one) for one in own["image_id"].to_pylist()],
        rarity_N=[rarity or "" for rarity in own["rarity"].to_pylist()],
        _groups=table,
        _places_N=places,
    )


def _shards(run: FinishedRun, *, pixels: bool) -> Iterator[pa.Table]:
    """The rows of each shard, kept and rejected ones, with the scores that were added later."""
    names = score_files.available(run)
    rejected = {entry.path.rpartition("/")[2]: entry for entry in run.images("rejected")}
    for kept in run.images("data"):
        both = [kept, *filter(None, [rejected.get(kept.path.rpartition("/")[2])])]
        tables: list[pa.Table] = []
        for entry in both:
            check(run.dataset, entry)
            there = parquet.schema_of(run.dataset, entry.path)
            made = {*schema.generated_in(there).names}
            numbers = [f.name for f in there if f.type in _NUMBERS and f.name not in made]
            rows = parquet.read(run.dataset, entry.path, [*_ROWS, *numbers, *(["image"] if pixels else [])])
            for name in names:
                scores = score_files.read(run.dataset, name, entry.path)
                rows = score_files.merged(run.dataset, name, entry.path, 0, rows, scores)
            tables.append(rows)
        yield pa.concat_tables(tables)
