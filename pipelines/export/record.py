"""export.json: what an export is, so that nothing but the same export goes on in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.dataset import scores as score_files
from pipelines.dataset.finished import FinishedRun
from pipelines.dataset.lock import FILE as LOCK
from pipelines.dataset.records import differences
from pipelines.dataset.schema import VERSION
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.layout import OutputFile
from pipelines.export.rows import Choice

FILE = "export.json"
_IDENTITY, _ENDINGS, _FILES = "export", "image_endings", "files"


@dataclass(frozen=True, kw_only=True)
class Record:
    """identity: all that decides the bytes of the export; files: by split, None until they are laid out; endings: of
    the images, such as png."""

    identity: Mapping[str, Any]
    files: Mapping[str, Sequence[OutputFile]] | None = None
    endings: Sequence[str] = ()


def identity(run: FinishedRun, choice: Choice, folders: Sequence[str], **options: Any) -> dict[str, Any]:
    """Places are not part of it: a run that was moved gives the same export."""
    digests = [f"{file.path} {file.sha256}" for folder in folders for file in run.images(folder)]
    return {
        "schema_version": VERSION,
        "fingerprint": run.run["fingerprint"],
        "images": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        **asdict(choice),
        "scores": {name: score_files.record(run.dataset, name) for name in choice.scores},
        **options,
    }


def claim(target: Storage, wanted: Mapping[str, Any]) -> Record:
    """The record in the target folder; a new one where the folder is empty, or no file was laid out yet.

    Raises UserError where the folder holds another export, or anything else.
    """
    here = f"Choose another --to, or empty {target.uri}"
    try:
        content = json.loads(target.read_bytes(FILE))
    except FileNotFoundError:
        strangers = [*(name for name in target.list() if name != LOCK), *target.folders()]
        if strangers:
            raise UserError(f"{target.uri} is not empty ({', '.join(strangers[:5])} ...). {here}.") from None
        content = None
    except ValueError as error:
        raise UserError(f"{target.path(FILE)} is not valid JSON: {error}. {here}.") from error
    if content is None or content[_FILES] is None:
        record = Record(identity=wanted)
        write(target, record)
        return record
    if changes := differences(content[_IDENTITY], json.loads(json.dumps(wanted))):
        raise UserError(f"{target.path(FILE)} belongs to another export: {changes}. {here}, or go on with that one.")
    files = {split: [OutputFile.from_json(file) for file in of] for split, of in content[_FILES].items()}
    return Record(identity=wanted, files=files, endings=content[_ENDINGS])


def laid_out(
    target: Storage, record: Record, files: Mapping[str, Sequence[OutputFile]], endings: Sequence[str]
) -> Record:
    record = replace(record, files=files, endings=endings)
    write(target, record)
    return record


def write(target: Storage, record: Record) -> None:
    files = None
    if record.files is not None:
        files = {split: [file.to_json() for file in of] for split, of in record.files.items()}
    content = {_IDENTITY: record.identity, _ENDINGS: list(record.endings), _FILES: files}
    target.write_bytes(FILE, (json.dumps(content, ensure_ascii=False) + "\n").encode())
