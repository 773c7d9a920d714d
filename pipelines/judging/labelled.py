"""The labelled images of a finished run, with all columns of their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config.acceptance import values_of
from pipelines.config.expression_values import Values
from pipelines.config.expressions import Expression
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.score_columns import own_columns
from pipelines.dataset.scored_rows import numbers_of, shards
from pipelines.errors import UserError


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
        return [field.name for field in numbers_of(self._groups.schema)]

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
        found = values_of(rule, self._groups, self.columns)
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
    for rows in shards(run, score_files.available(run), pixels=pixels):
        said = label(rows)
        ids = rows["group_id"].to_pylist()
        wanted = {group for group, one in zip(ids, said, strict=True) if one is not None}
        places = [at for at, group in enumerate(ids) if group in wanted]
        groups.append(rows.take(pa.array(places, pa.int64())).drop_columns(["image"] if pixels else []))
        labels += [said[at] for at in places]
    table = pa.concat_tables(groups)
    labelled_N = np.array([at for at, one in enumerate(labels) if one is not None], dtype=np.int64)
    if not len(labelled_N):
        raise UserError(f"{run.dataset.uri} has no image with one of these labels: image_id is as in its rows")
    own = table.take(labelled_N)
    _, prompts = np.unique(np.array(own["prompt_id"].to_pylist()), return_inverse=True)
    return Labelled(
        good_N=np.array([labels[at] for at in labelled_N], dtype=bool),
        prompt_N=prompts.astype(np.int64),
        image_ids=[str(one) for one in own["image_id"].to_pylist()],
        rarity_N=[rarity or "" for rarity in own["rarity"].to_pylist()],
        _groups=table,
        _places_N=labelled_N,
    )
