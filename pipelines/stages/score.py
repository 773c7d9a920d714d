"""The score stage: compares every image with its prompt and its group, and keeps or drops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.scorers.base import ImageGroup
from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.config.plugins import load as load_plugins
from pipelines.config.scorers import FurtherScorer, Scoring, score_fields
from pipelines.config.tables import Selection
from pipelines.dataset import schema, videos
from pipelines.dataset.failures import Failure, failed_rows, of_group
from pipelines.dataset.kept_answers import KeptAnswers
from pipelines.dataset.prompt_columns import SOURCE_IMAGES, TARGET_CAPTION
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.plan.groups import pictures_of
from pipelines.stages.block import pack, unpack
from pipelines.stages.isolate import run_isolated
from pipelines.stages.judge import Judge, Judged
from pipelines.stages.likeness import Likeness
from pipelines.stages.selection import ranks, select

_DECODING_THREADS = 2

Columns = dict[str, Any]
"""The new columns of one group: a value per image, or an array [B, D] of vectors."""


class ScoreShard:
    """Actor. Reads a block with images of `schema.generated`; writes it with the columns of the scorers.

    plugins: modules that register scorers.
    images: columns of the input.
    scoring: the main scorer, whose columns and the selection's make `schema.scored`; None to add only the columns of
        `scorers`, as when a finished run is scored again.
    scorers: the further scorers.
    selection: the rules by which images are kept.
    output: the output folder of the run, which keeps what scorers ask a service, and the pictures that prompts edit.
    progress: where it reports to.
    batch_size, frames: as in `Scoring`.
    on_gpu: run the scorers on a GPU where there is one.
    """

    def __init__(
        self,
        plugins: Sequence[str],
        images: pa.Schema,
        scoring: Scoring | None,
        scorers: Sequence[FurtherScorer],
        selection: Selection,
        output: Storage,
        progress: Progress,
        *,
        batch_size: int,
        frames: int,
        on_gpu: bool,
    ) -> None:
        load_plugins(plugins)
        self._batch_size, self._frames = batch_size, frames
        self._selection = selection
        self._telemetry = Telemetry("score", progress)
        device = "auto" if on_gpu else "cpu"
        with self._telemetry.busy("load_model"):
            self._main = Judge(scoring, device) if scoring else None
            kept = KeptAnswers(output)
            self._further = {one.name: Judge(one, device, f"scorers.{one.name}", kept) for one in scorers}
        self._sources = Sources(output) if SOURCE_IMAGES in images.names else None
        judges = {**self._further, **({"": self._main} if self._main else {})}
        self._likeness = {name: Likeness(judge) for name, judge in judges.items() if self._sources and judge.dim}
        dims = [judge.dim for judge in self._further.values()]
        more = score_fields(scoring, scorers, dims, images)
        if self._main:
            assert self._main.dim is not None  # the config checks it
            self._target = schema.scored(self._main.dim, more, images)
        else:
            self._target = schema.declared(pa.schema([*images, *more]))
        self._decoders = ThreadPoolExecutor(_DECODING_THREADS)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard = unpack(block)
        with self._telemetry.busy("score"):
            groups = _groups(shard.images)
            files = self._sources.read(pictures_of(shard.images)) if self._sources else {}
            rows, failed = self._score_all(groups, files)
        lost = sum(groups[index].num_rows for index in failed)
        self._telemetry.failed((f.error_type for f in failed.values()), images=lost)
        self._telemetry.images(rows.num_rows)
        unscored = failed_rows("score", ((of_group(groups[index], 0), failed[index]) for index in sorted(failed)))
        return pack(replace(shard, images=rows, failed=pa.concat_tables([shard.failed, unscored])))

    def _score_all(self, groups: list[pa.Table], files: Mapping[str, bytes]) -> tuple[pa.Table, dict[int, Failure]]:
        scored: dict[int, Columns] = {}
        failed: dict[int, Failure] = {}
        for index, outcome in run_isolated(groups, self._packs(groups), partial(self._score, files)):
            if isinstance(outcome, Failure):
                failed[index] = outcome
            else:
                scored[index] = outcome
        return self._rows([groups[i] for i in sorted(scored)], [scored[i] for i in sorted(scored)]), failed

    def _packs(self, groups: Sequence[pa.Table]) -> list[list[int]]:
        """Packs of neighbouring groups, of at most `batch_size` images or frames unless a single group has more."""
        packs: list[list[int]] = []
        filled = 0
        for index, group in enumerate(groups):
            pictures = group.num_rows * len(self._scored_frames(group))
            if not packs or filled + pictures > self._batch_size:
                packs.append([])
                filled = 0
            packs[-1].append(index)
            filled += pictures
        return packs

    def _score(self, files: Mapping[str, bytes], groups: list[pa.Table]) -> list[Columns]:
        pictures = [self._pictures(group) for group in groups]
        further = {name: judge(pictures) for name, judge in self._further.items()}
        mains = self._main(pictures) if self._main else []
        columns: list[Columns] = [
            {
                f"{name}_{column}": values
                for name, judged in further.items()
                for column, values in _columns_of(judged[at]).items()
            }
            for at in range(len(groups))
        ]
        edited = [_edited(group) for group in groups]
        for name, likeness in self._likeness.items():
            judged = further[name] if name else mains
            column = f"{name}_{schema.SOURCE_SIMILARITY}" if name else schema.SOURCE_SIMILARITY
            for at, values in enumerate(likeness.of([one.scores for one in judged], edited, files)):
                columns[at][column] = values
        if self._main:
            for at, (group, main) in enumerate(zip(groups, mains, strict=True)):
                ranked_by = further[self._selection.rank_by][at] if self._selection.rank_by else main
                columns[at] |= _columns_of(main)
                columns[at] |= self._selected(group["image_id"].to_pylist(), main, ranked_by, columns[at])
        return columns

    def _scored_frames(self, group: pa.Table) -> list[int]:
        return videos.evenly_spaced(group["frames"][0].as_py(), self._frames)

    def _pictures(self, group: pa.Table) -> ImageGroup:
        files = pc.struct_field(group["image"], "bytes").to_pylist()
        wanted = self._scored_frames(group)
        decoded = self._decoders.map(partial(videos.decode, frames=group["frames"][0].as_py(), wanted=wanted), files)
        return ImageGroup(
            pixels_BHWC=np.concatenate(list(decoded)),
            prompt=_shown(group),
            counterfactual=group["counterfactual"][0].as_py(),
            frames=len(wanted),
        )

    def _selected(self, image_ids: list[Any], main: Judged, ranked_by: Judged, columns: Columns) -> Columns:
        assert main.scores.features_BD is not None
        chosen = select(
            self._selection,
            image_ids,
            features_BD=main.scores.features_BD,
            ranked_by_B=ranked_by.ranked_by_B,
            columns=columns,
        )
        return {
            "rank_in_group": chosen.rank,
            "duplicate_of": chosen.duplicate_of,
            "keep": [reason is None for reason in chosen.drop_reason],
            "drop_reason": chosen.drop_reason,
        }

    def _rows(self, groups: list[pa.Table], scored: list[Columns]) -> pa.Table:
        if not groups:
            return self._target.empty_table()
        table = pa.concat_tables(groups)
        columns: dict[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
        for field in self._target:
            if field.name not in columns:
                columns[field.name] = _array([group[field.name] for group in scored], field.type)
        return pa.table({name: columns[name] for name in self._target.names}, self._target)


def _shown(group: pa.Table) -> str:
    """What the images of a group are to show."""
    target = TARGET_CAPTION in group.column_names and group[TARGET_CAPTION][0].as_py()
    return str(target or group["prompt"][0].as_py())


def _edited(group: pa.Table) -> list[str]:
    """The ids of the pictures that a group edits."""
    there = SOURCE_IMAGES in group.column_names
    return (group[SOURCE_IMAGES][0].as_py() or []) if there else []


def _columns_of(judged: Judged) -> Columns:
    """The columns of a scorer for a group, with ranks and image vectors."""
    return {
        **judged.columns(),
        "rank_in_group": ranks(judged.ranked_by_B),
        "embedding": judged.scores.features_BD,
    }


def _array(of_groups: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    if pa.types.is_fixed_size_list(kind):
        vectors_ND = np.concatenate(of_groups).astype(np.float16)
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.ravel()), kind.list_size)
    return pa.array([value for values in of_groups for value in values], kind)


def _groups(rows: pa.Table) -> list[pa.Table]:
    """The rows of each group; the generate stage wrote them next to each other."""
    if not rows.num_rows:
        return []
    ids = rows["group_id"].to_pylist()
    starts = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
    return [rows.slice(start, end - start) for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
