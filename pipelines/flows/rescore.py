"""Scores a finished run with another scorer, top to bottom: finished run -> lock -> pending shards -> read -> score ->
write. The run's own files are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from models.errors import require
from models.scorers import registry
from models.scorers.base import ScorerSpec
from pipelines.cluster.bars import followed
from pipelines.cluster.executor import Stage, running
from pipelines.cluster.progress import LAST, Progress
from pipelines.cluster.session import session, stoppable
from pipelines.config.fingerprint import without_later_defaults
from pipelines.config.scorers import PLACES, FurtherScorer, Scoring, checked, declared_fields
from pipelines.config.tables import RayOptions, Selection
from pipelines.dataset import mp4, owned, parquet
from pipelines.dataset import scores as score_files
from pipelines.dataset.features import holds_mp4
from pipelines.dataset.finished import FinishedRun, check, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.names import IMAGE_FOLDERS, SHARD_FOLDERS, FileEntry, shard_number
from pipelines.dataset.progress_json import ProgressFile
from pipelines.dataset.records import differences, to_json
from pipelines.dataset.schema import generated_in
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.stages.block import COUNTS_OF_SCORES, REQUEST, make_request, with_images
from pipelines.stages.read import ReadShard
from pipelines.stages.score import ScoreShard
from pipelines.stages.write_scores import WriteScores

STAGES = {"read": "read", "score": "score", LAST: "write"}
_POOLS = ("scorers", "writers", "writers")
_CHECKS_AT_A_TIME = 16
_NEEDED = (*score_files.KEYS, "image", "prompt", "counterfactual", "frames", "fingerprint")


@dataclass(frozen=True, kw_only=True)
class RescoreConfig:
    """The settings of a rescoring."""

    scoring: Scoring
    """As in the TOML file of a run."""
    ray: RayOptions = field(default_factory=RayOptions)
    """As in the TOML file of a run; there are as many readers as `ray.writers`."""
    embeddings: bool = False
    """Whether to keep the image vectors too."""
    plugins: tuple[str, ...] = ()
    """Modules that register scorers, as `run.plugins`."""

    def __post_init__(self) -> None:
        kind = self.scoring.kind
        rule = f"scorers of the kind {kind!r} give no image vectors"
        require(registry.entry_of(kind).vectors or not self.embeddings, "embeddings", True, rule)

    def scorer(self, name: str) -> FurtherScorer:
        """The scorer in the form of the run's further scorers.

        name: prefix of its columns.
        """
        settings = {f.name: getattr(self.scoring, f.name) for f in fields(ScorerSpec)}
        return FurtherScorer(name=name, embeddings=self.embeddings, **settings)


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """The counts of a session."""

    shards: int
    """Shards that were scored."""
    images: int
    """Images in these shards."""
    groups_failed: int
    """Groups that could not be scored."""
    cut: int
    """Images whose prompt or counterfactual is longer than the scorer reads."""


def rescore(dataset: Storage, name: str, config: RescoreConfig) -> Rescored:
    """Score the shards of a finished run that have no scores of this name yet.

    dataset: the output folder of the run.
    name: of the scores, the prefix of their columns.
    config: the settings.

    Raises:
        UserError: when the run is not finished, the name is taken, or a setting does not fit.
    """
    beside = score_files.beside(dataset, name)
    run = open_finished(dataset)
    config = replace(config, scoring=checked(config.scoring))
    if holds_mp4(_generated(run)):
        mp4.require(f"scoring {dataset.uri}, which has MP4s,")
    owned.check(beside, score_files.RECORD, setting="name of the scores")
    with ExitStack() as stack:
        stack.enter_context(stoppable())
        lock = stack.enter_context(RunLock(beside))
        claim(run, name, config)
        pending = pending_shards(run, name)
        if not pending:
            return Rescored(shards=0, images=0, groups_failed=0, cut=0)
        stack.enter_context(session(config.ray, _POOLS))
        images = _images(run, None)
        done = images - _images(run, {row["shard"] for row in pending})
        workers = {"read": config.ray.writers, "score": config.ray.scorers, "write": config.ray.writers}
        file = ProgressFile(beside, images=images, done=done, workers=workers)
        stack.enter_context(file.session())
        progress = stack.enter_context(followed(file, STAGES))
        made: Counter[str] = Counter()
        chain = stack.enter_context(running(REQUEST, stages(run, name, config, progress)))
        for row in chain.make(pending, last=True):
            made.update(shards=1, images=row["images"], failed=row["failed"], cut=row["cut"])
            lock.check()
    return Rescored(shards=made["shards"], images=made["images"], groups_failed=made["failed"], cut=made["cut"])


def claim(run: FinishedRun, name: str, config: RescoreConfig) -> None:
    """Write scores.json; as long as no shard has scores, one with other settings takes its place.

    run: the finished run.
    name: of the scores.
    config: the settings.

    Raises:
        UserError: when scores of this name have other settings, or the run itself has columns of these names.
    """
    beside = score_files.beside(run.dataset, name)
    _check_columns(run, config.scorer(name))
    wanted = score_files.ScoresRecord(
        schema_version=run.run.schema_version,
        fingerprint=run.run.fingerprint,
        scoring=_identity(config.scoring),
        embeddings=config.embeddings,
    )
    existing = score_files.find_record(run.dataset, name) or wanted
    if (changes := differences(to_json(existing), to_json(wanted))) and beside.list("data"):
        raise UserError(
            f"{beside.path(score_files.RECORD)} says that the scores {name!r} were made otherwise: {changes}. "
            f"Choose another name for these, or remove {beside.uri}."
        )
    score_files.write_record(run.dataset, name, wanted)
    for folder in ("", *SHARD_FOLDERS):
        beside.sweep(folder)


def _identity(scoring: Scoring) -> dict[str, Any]:
    """What a record says of a scorer: not where it asks."""
    options = {name: value for name, value in scoring.options.items() if name not in PLACES}
    told: dict[str, Any] = without_later_defaults({"scoring": asdict(replace(scoring, options=options))})["scoring"]
    return told


def _generated(run: FinishedRun) -> pa.Schema:
    """The columns that the run's generate stage wrote."""
    return generated_in(_columns(run))


def _columns(run: FinishedRun) -> pa.Schema:
    first, *_ = run.images("data")
    check(run.dataset, first)
    columns = parquet.schema_of(run.dataset, first.path)
    if lacking := [name for name in _NEEDED if name not in columns.names]:
        raise UserError(f"{run.dataset.path(first.path)} has no column {lacking[0]!r}: it is no file of a run")
    return columns


def _check_columns(run: FinishedRun, scorer: FurtherScorer) -> None:
    existing = _columns(run)
    if both := [field.name for field in scorer.fields(1, existing) if field.name in existing.names]:
        raise UserError(
            f"the scorer name {scorer.name!r}: the run has the column {both[0]} already; choose another name"
        )


def pending_shards(run: FinishedRun, name: str) -> Sequence[dict[str, Any]]:
    """Requests for the shards still to do: without scores, with scores of other images, or with groups that failed.

    run: the finished run.
    name: of the scores.

    Raises:
        UserError: when a file to score is not the one in the manifest.
    """
    beside = score_files.beside(run.dataset, name)
    files = [PurePosixPath(entry.path).name for entry in run.images("data")]
    without_failures = set(beside.list("data")) - set(beside.list("failed"))
    candidates = [file for file in files if file in without_failures]
    with ThreadPoolExecutor(_CHECKS_AT_A_TIME) as pool:
        checks = pool.map(lambda file: score_files.is_done(run, name, file), candidates)
        done = {file for file, good in zip(candidates, checks, strict=True) if good}
    pending = [file for file in files if file not in done]
    for entry in _image_entries(run):
        if PurePosixPath(entry.path).name in pending:
            check(run.dataset, entry)
    return [make_request(shard_number(file), retry=False) for file in pending]


def stages(run: FinishedRun, name: str, config: RescoreConfig, progress: Progress) -> list[Stage]:
    """The stages of a rescoring, in order.

    run: the finished run.
    name: of the scores.
    config: the settings.
    progress: what the workers report to.
    """
    where, images = config.ray, _generated(run)
    further = declared_fields(None, [config.scorer(name)], images)
    generated, scored = with_images(images), with_images([*images, *further])
    return [
        Stage(
            kind=ReadShard,
            arguments={"dataset": run.dataset, "progress": progress},
            reads=REQUEST,
            writes=generated,
            workers=where.writers,
            cpus=where.cpus_per_writer,
        ),
        Stage(
            kind=ScoreShard,
            arguments={
                "plugins": config.plugins,
                "images": images,
                "scoring": None,
                "scorers": [config.scorer(name)],
                "selection": Selection(),
                "output": run.dataset,
                "progress": progress,
                "batch_size": config.scoring.batch_size,
                "frames": config.scoring.frames,
                "on_gpu": bool(where.gpus_per_scorer),
            },
            reads=generated,
            writes=scored,
            workers=where.scorers,
            cpus=where.cpus_per_scorer,
            gpus=where.gpus_per_scorer,
        ),
        Stage(
            kind=WriteScores,
            arguments={"run": run, "name": name, "columns": [f.name for f in further], "progress": progress},
            reads=with_images([*(images.field(key) for key in score_files.KEYS), *further]),
            writes=COUNTS_OF_SCORES,
            workers=where.writers,
            cpus=where.cpus_per_writer,
        ),
    ]


def _images(run: FinishedRun, shards: set[int] | None) -> int:
    """Images in some shards, or in all."""
    return sum(entry.rows or 0 for entry in _image_entries(run) if shards is None or shard_number(entry.path) in shards)


def _image_entries(run: FinishedRun) -> list[FileEntry]:
    return [entry for folder in IMAGE_FOLDERS for entry in run.images(folder)]
