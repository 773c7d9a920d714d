"""Names of shard files, and the entries that the manifest has of files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow.parquet as pq

from pipelines.dataset.storage import Storage

_READ_BYTES = 1 << 20


_SHARD_FILE = re.compile(r"shard-(\d+)\.parquet")


def shard_file(shard: int) -> str:
    """Name of a shard's file in `data/`, `rejected/` and `failed/`."""
    return f"shard-{shard:06d}.parquet"


def shard_number(file: str) -> int:
    """The shard whose file this is."""
    match = _SHARD_FILE.fullmatch(PurePosixPath(file).name)
    if match is None:
        raise ValueError(f"{file} is not named like the file of a shard")
    return int(match[1])


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the run. path: below the output folder; rows: None where it is no Parquet file; sha256: hex."""

    path: str
    rows: int | None
    bytes: int
    sha256: str


def file_entry(output: Storage, path: str) -> FileEntry:
    """Read a file once, a megabyte at a time, for its digest; a Parquet file's footer says its rows."""
    digest, size = hashlib.sha256(), 0
    with output.open_input(path) as source:
        while block := source.read(_READ_BYTES):
            digest.update(block)
            size += len(block)
        rows = pq.ParquetFile(source).metadata.num_rows if path.endswith(".parquet") else None
    return FileEntry(path=path, rows=rows, bytes=size, sha256=digest.hexdigest())
