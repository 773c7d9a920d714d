"""export.json: what an export is, so that nothing but the same export goes on in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipelines.dataset import records
from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.lock import FILE as LOCK
from pipelines.dataset.records import differences, named, to_json
from pipelines.dataset.schema import VERSION
from pipelines.dataset.scores import ScoresRecord
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.layout import OutputFile
from pipelines.export.rows import Choice

FILE = "export.json"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that decides the bytes of an export; no places: a run that was moved gives the same export."""

    schema_version: int
    fingerprint: str
    """Of the run."""
    images: str
    """A hash of the run's files of images."""
    arms: tuple[str, ...]
    embeddings: bool
    scores: dict[str, ScoresRecord]
    """Name of a scorer -> what its scores were made with."""
    format: str
    rejected: bool
    shard_bytes: int
    license: str


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """The content of export.json."""

    identity: Identity = field(metadata=named("export"))
    endings: tuple[str, ...] = field(metadata=named("image_endings"))
    """Of the images, such as png."""
    files: dict[str, tuple[OutputFile, ...]] | None
    """By split; None until they are laid out."""


def identity(
    run: FinishedRun,
    choice: Choice,
    folders: Sequence[str],
    *,
    format: str,
    rejected: bool,
    shard_bytes: int,
    license: str,
) -> Identity:
    """folders: of the run, whose images are exported."""
    digests = [f"{file.path} {file.sha256}" for folder in folders for file in run.images(folder)]
    return Identity(
        schema_version=VERSION,
        fingerprint=run.run.fingerprint,
        images=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        arms=choice.arms,
        embeddings=choice.embeddings,
        scores={name: score_files.record(run.dataset, name) for name in choice.scores},
        format=format,
        rejected=rejected,
        shard_bytes=shard_bytes,
        license=license,
    )


def claim(target: Storage, wanted: Identity) -> ExportRecord:
    """The record in the target folder; a new one where the folder is empty, or no file was laid out yet.

    Raises UserError where the folder holds another export, or anything else.
    """
    here = f"Choose another --to, or empty {target.uri}"
    try:
        found = records.read(target, FILE, ExportRecord, f"{here}.")
    except FileNotFoundError:
        strangers = [*(name for name in target.list() if name != LOCK), *target.folders()]
        if strangers:
            raise UserError(f"{target.uri} is not empty ({', '.join(strangers[:5])} ...). {here}.") from None
        found = None
    if found is None or found.files is None:
        found = ExportRecord(identity=wanted, endings=(), files=None)
        _write(target, found)
    elif changes := differences(to_json(found.identity), to_json(wanted)):
        raise UserError(f"{target.path(FILE)} belongs to another export: {changes}. {here}, or go on with that one.")
    return found


def laid_out(
    target: Storage, record: ExportRecord, files: Mapping[str, Sequence[OutputFile]], endings: Sequence[str]
) -> ExportRecord:
    """Note which rows go into which file."""
    record = replace(record, files={split: tuple(of) for split, of in files.items()}, endings=tuple(endings))
    _write(target, record)
    return record


def _write(target: Storage, record: ExportRecord) -> None:
    records.write(target, FILE, record, indent=None)
