"""Opens a finished export, for publishing, and finds what an earlier start of an export has finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.dataset.names import EXPORT_RECORD, RUN_RECORD, FileEntry, file_entry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export import manifest

CARD = "README.md"

_AGAIN = "Start the export's own command again (python jobs/export.py ...), and this one when it is done."


@dataclass(frozen=True, kw_only=True)
class FinishedExport:
    """An export that is whole."""

    folder: Storage
    """Where it lies."""
    files: tuple[FileEntry, ...]
    """All files. The record, which says what the folder is, comes first; the card and the manifest come last."""


def open_export(folder: Storage) -> FinishedExport:
    """The finished export in a folder.

    Raises:
        UserError: when there is none, it is not whole, or a file has another size than it had.
    """
    if not folder.exists(EXPORT_RECORD):
        if folder.exists(RUN_RECORD):
            raise UserError(
                f"{folder.uri} holds a run: make an export of it first, which is what is published "
                f"(python jobs/export.py --dataset {folder.uri} --to FOLDER --format huggingface)"
            )
        raise UserError(f"{folder.uri} holds no export: it has no {EXPORT_RECORD}")
    try:
        entries = manifest.read(folder, _AGAIN).files
    except FileNotFoundError:
        raise UserError(f"{folder.uri} is not a whole export: it has no {manifest.FILE}. {_AGAIN}") from None
    sizes = sizes_of(folder, (entry.path for entry in entries))
    for entry in entries:
        if sizes.get(entry.path) != entry.bytes:
            found = f"has {sizes[entry.path]} bytes" if entry.path in sizes else "is gone"
            raise UserError(
                f"{folder.path(entry.path)} {found}, but {manifest.FILE} says {entry.bytes} bytes: the export has "
                f"changed. {_AGAIN}"
            )
    last = [CARD, EXPORT_RECORD]
    in_order = sorted(entries, key=lambda entry: (entry.path != EXPORT_RECORD, entry.path in last, entry.path))
    return FinishedExport(folder=folder, files=(*in_order, file_entry(folder, manifest.FILE)))


def keep_intact(folder: Storage) -> dict[str, FileEntry]:
    """Path -> entry of the files that have the size that the manifest of an export gives; none without a manifest.
    Files that have another size are removed: they are to be written again.

    folder: of the export.
    """
    try:
        entries = manifest.read(folder, f"Remove {folder.path(manifest.FILE)}; it is written again.").files
    except FileNotFoundError:
        return {}
    sizes = sizes_of(folder, (entry.path for entry in entries))
    for entry in entries:
        if sizes.get(entry.path, entry.bytes) != entry.bytes:
            folder.remove(entry.path)
    return {entry.path: entry for entry in entries if sizes.get(entry.path) == entry.bytes}


def sizes_of(folder: Storage, paths: Iterable[str]) -> dict[str, int]:
    """Path -> size of those of some files that are there, with one request for each of their folders."""
    found: dict[str, int] = {}
    for inside in sorted({str(PurePosixPath(path).parent) for path in paths}):
        prefix = "" if inside == "." else f"{inside}/"
        found |= {f"{prefix}{name}": size for name, size in folder.sizes(prefix.rstrip("/")).items()}
    return found
