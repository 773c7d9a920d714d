"""The score stage: every image is compared with its prompt and with its group, and kept or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.scorers.group import score_group
from pipelines.cluster.progress import Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.config.tables import Scoring, Selection
from pipelines.dataset import images, schema
from pipelines.stages.block import failures, pack, unpack
from pipelines.stages.isolate import Failure, run_isolated
from pipelines.stages.selection import select

_DECODING_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """The new columns of one group, each with a value per image."""

    columns: dict[str, list[Any]]
    embedding: NDArray[np.float32]


class ScoreShard:
    """Actor. Reads a block with images of `schema.GENERATED`; writes it with images of `schema.scored`."""

    def __init__(
        self, scoring: Scoring, selection: Selection, progress: Progress, *, group_size: int, on_gpu: bool
    ) -> None:
        from models.scorers.clip import ClipScorer

        self._batch_size = scoring.batch_size
        self._selection = selection
        self._group_size = group_size
        self._telemetry = Telemetry("score", progress)
        with self._telemetry.busy("load_model"):
            self._scorer = ClipScorer(scoring.model, scoring.pretrained, "auto" if on_gpu else "cpu")
        self._name = self._scorer.name + (f"@{scoring.revision}" if scoring.revision else "")
        self._decoders = ThreadPoolExecutor(_DECODING_THREADS)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard = unpack(block)
        with self._telemetry.busy("score"):
            rows, failed = self._score_all(_groups(shard.images))
        self._telemetry.failed((row["error_type"] for row in failed), group_size=self._group_size)
        self._telemetry.images(rows.num_rows)
        return pack(replace(shard, images=rows, failed=pa.concat_tables([shard.failed, failures(failed)])))

    def _score_all(self, groups: list[pa.Table]) -> tuple[pa.Table, list[dict[str, Any]]]:
        scored: dict[int, _Scored] = {}
        failed: list[dict[str, Any]] = []
        for index, outcome in run_isolated(groups, self._packs(groups), self._score):
            if isinstance(outcome, Failure):
                first = groups[index].slice(0, 1).select(["group_id", "prompt_id", "prompt", "arm"]).to_pylist()[0]
                failed.append({**first, "stage": "score", **asdict(outcome)})
            else:
                scored[index] = outcome
        return self._rows([groups[i] for i in sorted(scored)], [scored[i] for i in sorted(scored)]), failed

    def _packs(self, groups: Sequence[pa.Table]) -> list[list[int]]:
        """Whole neighbouring groups, together at most `batch_size` images where they fit at all."""
        packs: list[list[int]] = []
        filled = 0
        for index, group in enumerate(groups):
            if not packs or filled + group.num_rows > self._batch_size:
                packs.append([])
                filled = 0
            packs[-1].append(index)
            filled += group.num_rows
        return packs

    def _score(self, groups: list[pa.Table]) -> list[_Scored]:
        files = [data for group in groups for data in pc.struct_field(group["image"], "bytes").to_pylist()]
        pixels_NHWC = np.stack(list(self._decoders.map(images.decode, files)))
        features_ND = self._scorer.embed_images(pixels_NHWC)
        asked = [(group["prompt"][0].as_py(), group["counterfactual"][0].as_py()) for group in groups]
        texts = list(dict.fromkeys(text for pair in asked for text in pair if text is not None))
        feature_of = dict(zip(texts, self._scorer.embed_texts(texts), strict=True))
        ends = np.cumsum([group.num_rows for group in groups])
        return [
            self._describe(
                group["image_id"].to_pylist(),
                features_BD,
                feature_of[prompt],
                None if counterfactual is None else feature_of[counterfactual],
            )
            for group, features_BD, (prompt, counterfactual) in zip(
                groups, np.split(features_ND, ends[:-1]), asked, strict=True
            )
        ]

    def _describe(
        self,
        image_ids: list[Any],
        features_BD: NDArray[np.float32],
        prompt_D: NDArray[np.float32],
        counterfactual_D: NDArray[np.float32] | None,
    ) -> _Scored:
        count = len(image_ids)
        group = score_group(features_BD, prompt_D, counterfactual_D)
        chosen = select(self._selection, image_ids, features_BD, group.score_B, group.margin_B)
        nothing = [None] * count
        return _Scored(
            embedding=features_BD,
            columns={
                "clip_model": [self._name] * count,
                "clip_score": group.score_B.tolist(),
                "clip_margin": nothing if group.margin_B is None else group.margin_B.tolist(),
                "rank_in_group": chosen.rank,
                "group_vendi": [group.vendi] * count,
                "group_pair_similarity": [group.pair_similarity] * count,
                "nearest_similarity": nothing if group.nearest_B is None else group.nearest_B.tolist(),
                "duplicate_of": chosen.duplicate_of,
                "keep": [reason is None for reason in chosen.drop_reason],
                "drop_reason": chosen.drop_reason,
            },
        )

    def _rows(self, groups: list[pa.Table], scored: list[_Scored]) -> pa.Table:
        target = schema.scored(self._scorer.dim)
        if not groups:
            return target.empty_table()
        table = pa.concat_tables(groups)
        embedding_ND = np.concatenate([group.embedding for group in scored]).astype(np.float16)
        columns: dict[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
        columns |= {
            name: pa.array([value for group in scored for value in group.columns[name]], target.field(name).type)
            for name in scored[0].columns
        }
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(embedding_ND.ravel()), self._scorer.dim)
        return pa.table({name: columns[name] for name in target.names}, target)


def _groups(rows: pa.Table) -> list[pa.Table]:
    """The rows of each group; the generate stage wrote them next to each other."""
    if not rows.num_rows:
        return []
    ids = rows["group_id"].to_pylist()
    starts = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
    return [rows.slice(start, end - start) for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
