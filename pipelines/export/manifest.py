"""manifest.json of an export: every file with its size and checksum. It is written last, when the export is whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.dataset import records
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage

FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json."""

    files: tuple[FileEntry, ...]
    """All files of the export but this one, sorted by path."""


def read(target: Storage, advice: str) -> Manifest:
    """The manifest of an export.

    target: the folder of the export.
    advice: what to do where the file is damaged, for the message.

    Raises:
        FileNotFoundError: when there is none.
        UserError: when the file is damaged.
    """
    return records.read(target, FILE, Manifest, advice)


def write(target: Storage, files: Iterable[FileEntry]) -> None:
    """Write manifest.json.

    target: the folder of the export.
    files: of the export, in any order.
    """
    records.write(target, FILE, Manifest(files=tuple(sorted(files, key=lambda file: file.path))))
