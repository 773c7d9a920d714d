"""Names of folders and of shard files, and the entries that the manifest has of files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.dataset.parquet import Reader
from pipelines.dataset.storage import Storage

IMAGE_FOLDERS = ("data", "rejected")
"""Folders with a file of images per shard: what was kept, and what selection dropped. In `data` every finished shard
has its file; elsewhere there is none without rows."""
SHARD_FOLDERS = (*IMAGE_FOLDERS, "failed")
"""Folders with a file per shard."""

_READ_BYTES = 1 << 20
_SHARD_FILE = re.compile(r"shard-(\d+)\.parquet")


def shard_file(shard: int) -> str:
    """Name of a shard's file in `data/`, `rejected/` and `failed/`."""
    return f"shard-{shard:06d}.parquet"


def shard_number(file: str) -> int:
    """The shard whose file this is. Raises ValueError for a file of no shard."""
    if (shard := shard_of(file)) is None:
        raise ValueError(f"{file} is not named like the file of a shard")
    return shard


def shard_of(file: str) -> int | None:
    """The shard whose file this is, by its name; None for a file of no shard."""
    match = _SHARD_FILE.fullmatch(PurePosixPath(file).name)
    return None if match is None else int(match[1])


def image_files(output: Storage, name: str) -> list[str]:
    """Paths of the files of this name that hold images: kept ones, then dropped ones."""
    return [path for folder in IMAGE_FOLDERS if output.exists(path := f"{folder}/{name}")]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the run."""

    path: str
    """Below the output folder."""
    rows: int | None
    """None where it is no Parquet file."""
    bytes: int
    sha256: str
    """In hex digits."""


def file_entry(output: Storage, path: str) -> FileEntry:
    """Read a file once, a megabyte at a time, for its digest; a Parquet file's footer says its rows."""
    digest, size = hashlib.sha256(), 0
    with output.open_input(path) as source:
        while block := source.read(_READ_BYTES):
            digest.update(block)
            size += len(block)
        rows = Reader(source).rows if path.endswith(".parquet") else None
    return FileEntry(path=path, rows=rows, bytes=size, sha256=digest.hexdigest())
