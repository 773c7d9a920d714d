"""Scores that were added to a finished run, below `scores/NAME`: the same files as those of the run, without images.

`scores/NAME/data/shard-X.parquet` has a row for every row of `data/shard-X.parquet`, in the same order, with `KEYS` and
the columns `NAME_clip_score` and so on; `rejected/` likewise; `failed/` has the groups that could not be scored, whose
scores are null. The file in `data/` is written last and marks the shard as done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from models.plugins import COLUMN_NAME
from pipelines.dataset import parquet, records, schema
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.names import IMAGE_FOLDERS
from pipelines.dataset.score_columns import NAME_RULE
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

FOLDER = "scores"
RECORD = "scores.json"
KEYS = ("group_id", "index_in_group", "image_id")
"""Columns that identify an image."""

_SOURCE = b"raydiance_scores_of"


def folder(name: str) -> str:
    """The folder of a scorer's scores, relative to the output folder.

    name: of the scorer.

    Raises:
        UserError: when the name cannot be the prefix of columns.
    """
    if not COLUMN_NAME.fullmatch(name):
        raise UserError(f"the scorer name {name!r} {NAME_RULE}")
    return f"{FOLDER}/{name}"


def beside(dataset: Storage, name: str) -> Storage:
    """The folder of a scorer's scores, which has its own lock and progress.json.

    dataset: the output folder of the run.
    name: of the scorer.
    """
    return Storage.open(dataset.path(folder(name)))


def path(name: str, file: str) -> str:
    """The file of scores of a shard file, relative to the output folder.

    name: of the scorer.
    file: such as `data/shard-000000.parquet`.
    """
    return f"{folder(name)}/{file}"


def columns(fields: Sequence[pa.Field[Any]], *, source: str) -> pa.Schema:
    """Schema of a file of scores.

    fields: of the scorer, null where a group could not be scored.
    source: as `source_of` gives it; it is stored in the file, so that a shard that a retry has changed is scored again.
    """
    target = schema.declared(pa.schema([*(schema.generated().field(key) for key in KEYS), *fields]))
    return target.with_metadata({**(target.metadata or {}), _SOURCE: source.encode()})


def source_of(run: FinishedRun, name: str) -> str:
    """A hash of the images of a shard, from the manifest.

    run: the finished run.
    name: of the shard's files in data/ and rejected/.
    """
    entries = [run.files.get(f"{folder}/{name}") for folder in IMAGE_FOLDERS]
    return hashlib.sha256(" ".join(entry.sha256 if entry else "" for entry in entries).encode()).hexdigest()


def is_done(run: FinishedRun, scorer: str, name: str) -> bool:
    """Whether an existing file of scores belongs to the current images of the shard.

    run: the finished run.
    scorer: name of the scorer.
    name: of the shard's files.
    """
    metadata = parquet.schema_of(run.dataset, path(scorer, f"data/{name}")).metadata or {}
    return metadata.get(_SOURCE, b"").decode() == source_of(run, name)


def available(run: FinishedRun) -> Sequence[str]:
    """Names of the scorers that have scored the run."""
    names = filter(COLUMN_NAME.fullmatch, run.dataset.folders(FOLDER))
    return [name for name in names if run.dataset.exists(f"{folder(name)}/{RECORD}")]


@dataclass(frozen=True, kw_only=True)
class ScoresRecord:
    """The content of scores.json: the settings of a scorer's scores."""

    schema_version: int
    """Of the row contract."""
    fingerprint: str
    """Of the run."""
    scoring: dict[str, Any]
    """All settings of the table [scoring]."""
    embeddings: bool
    """Whether image vectors were kept."""


def find_record(dataset: Storage, name: str) -> ScoresRecord | None:
    """The record of a scorer's scores; None where there is none.

    dataset: the output folder of the run.
    name: of the scorer.

    Raises:
        UserError: when the file is damaged.
    """
    advice = f"Remove {dataset.path(folder(name))}, and score anew: {_make(name)}"
    try:
        return records.read(dataset, f"{folder(name)}/{RECORD}", ScoresRecord, advice)
    except FileNotFoundError:
        return None


def record(dataset: Storage, name: str) -> ScoresRecord:
    """The record of a scorer's scores.

    dataset: the output folder of the run.
    name: of the scorer.

    Raises:
        UserError: when there is none, or the file is damaged.
    """
    if found := find_record(dataset, name):
        return found
    there = ", ".join(dataset.folders(FOLDER)) or "none"
    raise UserError(f"{dataset.uri} has no scores {name!r}; there are: {there}. Make them: {_make(name)}")


def write_record(dataset: Storage, name: str, content: ScoresRecord) -> None:
    """Write scores.json of a scorer."""
    records.write(dataset, f"{folder(name)}/{RECORD}", content)


def read(dataset: Storage, name: str, file: str) -> pa.Table:
    """All rows of scores of a shard file.

    dataset: the output folder of the run.
    name: of the scorer.
    file: such as `data/shard-000000.parquet`.

    Raises:
        UserError: when the file is not scored yet.
    """
    scores = path(name, file)
    try:
        return parquet.read(dataset, scores)
    except FileNotFoundError:
        raise UserError(
            f"{dataset.path(scores)} is not there yet. Finish the scores ({_make(name)}), or leave them out: --scores "
            "with the names to take along."
        ) from None


def merged(dataset: Storage, name: str, file: str, first: int, rows: pa.Table, scores: pa.Table) -> pa.Table:
    """Rows of a shard file with score columns added.

    dataset: the output folder of the run.
    name: of the scorer.
    file: such as `data/shard-000000.parquet`.
    first: number of the first of `rows` in the file.
    rows: some consecutive rows of the file.
    scores: the scores of all rows of the file.

    Raises:
        UserError: when the scores belong to other images.
    """
    part = scores.slice(first, rows.num_rows)
    for key in KEYS:
        for number, (here, there) in enumerate(zip_longest(part[key].to_pylist(), rows[key].to_pylist()), first):
            if here != there:
                raise UserError(
                    f"{dataset.path(path(name, file))}: row {number} has {key} = {here!r}, where {file} has {there!r}: "
                    f"the run has changed since it was scored. Score it again: {_make(name)}"
                )
    for field in part.schema:
        if field.name not in KEYS:
            rows = rows.append_column(field, part[field.name])
    return rows


def _make(name: str) -> str:
    return f"python jobs/score.py --dataset ... --scorer {name}=MODEL"
