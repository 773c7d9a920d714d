"""export.json: the identity of an export, so that only the same export continues in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.dataset import records
from pipelines.dataset import scores as score_files
from pipelines.dataset.content_credentials import Credentials
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.lock import FILE as LOCK
from pipelines.dataset.names import EXPORT_RECORD
from pipelines.dataset.records import differences, named, to_json
from pipelines.dataset.scores import ScoresRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.labels import LABELS
from pipelines.export.layout import OutputFile
from pipelines.export.parts import UNDIVIDED, Splits
from pipelines.export.rows import Choice

FILE = EXPORT_RECORD


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything on which the bytes of an export depend, without paths: a run that was moved gives the same export."""

    schema_version: int
    """Of the row contract."""
    fingerprint: str
    """Of the run."""
    images: str
    """A hash of the run's files of images."""
    arms: tuple[str, ...]
    """Names of the exported arms."""
    embeddings: bool
    """As in `ExportOptions`."""
    scores: dict[str, ScoresRecord]
    """Name of a scorer -> the settings of its scores."""
    format: str
    """As in `ExportOptions`."""
    rejected: bool
    """As in `ExportOptions`."""
    shard_bytes: int
    """As in `ExportOptions`."""
    license: str
    """As in `ExportOptions`."""
    splits: Splits = UNDIVIDED
    """How rows are divided."""
    labels: tuple[str, ...] = LABELS
    """As in `ExportOptions`."""
    accept: str = ""
    """As in `ExportOptions`."""
    repeats: float = 1.0
    """As in `ExportOptions`."""
    match_covariance: str = ""
    """A hash of the real pictures whose covariance is matched; "" for none."""
    match_count: int = 0
    """As in `ExportOptions`."""
    mark: bool = False
    """As in `ExportOptions`; exports that were made before there was one have none."""
    certificate: str = ""
    """A hash of the certificate of who signs; "" for nobody."""


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """The content of export.json."""

    identity: Identity = field(metadata=named("export"))
    """Which export."""
    endings: tuple[str, ...] = field(metadata=named("image_endings"))
    """Endings of the image files, such as png."""
    files: dict[str, tuple[OutputFile, ...]] | None
    """Name of a part -> its files; None until they are laid out."""


def identity(
    run: FinishedRun,
    choice: Choice,
    folders: Sequence[str],
    *,
    format: str,
    rejected: bool,
    shard_bytes: int,
    license: str,
    splits: Splits,
    labels: tuple[str, ...],
    mark: bool,
    accept: str,
    repeats: float,
    match_covariance: str,
    match_count: int,
    credentials: Credentials | None,
) -> Identity:
    """The identity of an export.

    run: the finished run.
    choice: which rows and columns.
    folders: of the run, whose images are exported.
    format, rejected, shard_bytes, license, splits, labels, mark, accept, repeats, match_count, credentials: as
        in `ExportOptions`.
    match_covariance: as in `Identity`.

    Raises:
        UserError: when the run has no scores of a chosen scorer.
    """
    digests = [f"{file.path} {file.sha256}" for folder in folders for file in run.images(folder)]
    return Identity(
        schema_version=run.run.schema_version,
        fingerprint=run.run.fingerprint,
        images=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        arms=choice.arms,
        embeddings=choice.embeddings,
        scores={name: score_files.record(run.dataset, name) for name in choice.scores},
        format=format,
        rejected=rejected,
        shard_bytes=shard_bytes,
        license=license,
        splits=splits,
        labels=labels,
        mark=mark,
        accept=accept,
        repeats=repeats,
        match_covariance=match_covariance,
        match_count=match_count,
        certificate=""
        if credentials is None
        else hashlib.sha256(Path(credentials.certificate).read_bytes()).hexdigest(),
    )


def claim(target: Storage, wanted: Identity) -> ExportRecord:
    """The record in the target folder; a new one as long as no file was written there.

    target: the folder of the export, of which `owned.check` says that it is empty or that of an export.
    wanted: which export.

    Raises:
        UserError: when the folder holds the files of another export.
    """
    here = f"Choose another --to, or empty {target.uri}"
    try:
        found = records.read(target, FILE, ExportRecord, f"{here}.")
    except FileNotFoundError:
        found = None
    changes = differences(to_json(found.identity), to_json(wanted)) if found else ""
    if changes and {*target.everything()} - {FILE, LOCK}:
        raise UserError(f"{target.path(FILE)} belongs to another export: {changes}. {here}, or go on with that one.")
    if found is None or found.files is None or changes:
        found = ExportRecord(identity=wanted, endings=(), files=None)
        _write(target, found)
    return found


def laid_out(
    target: Storage, record: ExportRecord, files: Mapping[str, Sequence[OutputFile]], endings: Sequence[str]
) -> ExportRecord:
    """Record which rows go into which file; returns the new record.

    target: the folder of the export.
    record: the record without files.
    files: name of a part -> its files.
    endings: of the image files, such as png.
    """
    record = replace(record, files={part: tuple(of) for part, of in files.items()}, endings=tuple(endings))
    _write(target, record)
    return record


def _write(target: Storage, record: ExportRecord) -> None:
    records.write(target, FILE, record, indent=None)
