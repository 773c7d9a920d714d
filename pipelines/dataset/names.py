"""Names of folders and of shard files, and the manifest's entries of files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.dataset.parquet import DAMAGED, Reader
from pipelines.dataset.storage import Storage

IMAGE_FOLDERS = ("data", "rejected")
"""Folders with a file of images per shard: kept ones, and those that selection dropped. In `data` every finished shard
has a file; elsewhere there is no file without rows."""

SHARD_FOLDERS = (*IMAGE_FOLDERS, "failed")
"""Folders with a file per shard."""

RUN_RECORD, EXPORT_RECORD = "run.json", "export.json"
"""The file that makes a folder the output of a run, and that of an export."""

_READ_BYTES = 1 << 20
_SHARD_FILE = re.compile(r"shard-(\d+)\.parquet")


def shard_file(shard: int) -> str:
    """Name of a shard's file in `data/`, `rejected/` and `failed/`."""
    return f"shard-{shard:06d}.parquet"


def shard_number(file: str) -> int:
    """The number of the shard that a file belongs to.

    Raises:
        ValueError: when it is not the file of a shard.
    """
    if (shard := shard_of(file)) is None:
        raise ValueError(f"{file} is not named like the file of a shard")
    return shard


def shard_of(file: str) -> int | None:
    """The number of the shard that a file belongs to, by its name; None where it is not the file of a shard."""
    name = PurePosixPath(file).name
    match = _SHARD_FILE.fullmatch(name)
    return int(match[1]) if match and name == shard_file(int(match[1])) else None


def image_files(output: Storage, name: str) -> list[str]:
    """The existing paths of a shard's files of images: kept ones, then dropped ones.

    output: the output folder.
    name: as `shard_file` gives it.
    """
    return [path for folder in IMAGE_FOLDERS if output.exists(path := f"{folder}/{name}")]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the run."""

    path: str
    """Relative to the output folder."""
    rows: int | None
    """None where it is not a Parquet file."""
    bytes: int
    """Its size."""
    sha256: str
    """Hash of its content, in hex digits."""


def file_entry(output: Storage, path: str) -> FileEntry:
    """The entry of a file, which is read once, a megabyte at a time.

    output: the output folder.
    path: relative to it.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    digest, size = hashlib.sha256(), 0
    with output.open_input(path) as source:
        while block := source.read(_READ_BYTES):
            digest.update(block)
            size += len(block)
        rows = Reader(source, output.path(path), DAMAGED).rows if path.endswith(".parquet") else None
    return FileEntry(path=path, rows=rows, bytes=size, sha256=digest.hexdigest())
