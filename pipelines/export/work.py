"""The two steps of an export that any worker can do: measure the rows of a shard, and write a file of the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset.content_credentials import Credentials, finishing
from pipelines.dataset.finished import CONTINUE, check
from pipelines.dataset.names import FileEntry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.formats import FORMATS
from pipelines.export.layout import OutputFile, Weighed
from pipelines.export.rows import Choice, Piece, read


@dataclass(frozen=True, kw_only=True)
class Task:
    """A file of the export to write."""

    path: str
    """Relative to the target folder."""
    file: OutputFile
    """Its rows."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """The settings of an export that every worker needs."""

    dataset: Storage
    """The output folder of the run."""
    target: Storage
    """The folder of the export."""
    format: str
    """A name of `pipelines.export.formats`."""
    choice: Choice
    """Which rows and columns."""
    schema: pa.Schema
    """Of the exported rows."""
    mark: bool
    """As in `ExportOptions`."""
    credentials: Credentials | None
    """As in `ExportOptions`."""


def weigh(job: Export, entry: FileEntry) -> Weighed:
    """The chosen rows of a shard file with their sizes.

    job: the export.
    entry: the shard file.

    Raises:
        UserError: when the file is not the one in the manifest, or the format cannot hold a row.
    """
    check(job.dataset, entry)
    finish = finishing(mark=job.mark, credentials=job.credentials)
    places, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    endings: set[str] = set()
    piece = Piece(file=entry.path, first=0, end=entry.rows or 0)
    for numbers, rows in read(job.dataset, job.choice, job.schema, piece):
        try:
            sizes.append(FORMATS[job.format].sizes(_finished(rows, finish)))
        except ValueError as error:
            raise UserError(f"{job.dataset.path(entry.path)}, rows {numbers[0]} to {numbers[-1]}: {error}") from error
        places.append(numbers)
        names: Any = pc.struct_field(rows["image"], "path")
        endings.update(PurePosixPath(name or "").suffix.removeprefix(".") for name in names.to_pylist())
    return Weighed(
        file=entry.path, places=np.concatenate(places), sizes=np.concatenate(sizes), endings=frozenset(endings)
    )


def _finished(rows: pa.Table, finish: Callable[[bytes], bytes]) -> pa.Table:
    """The rows with the images as the export has them."""
    at = rows.schema.get_field_index("image")
    cells = [
        {**cell, "bytes": finish(cell["bytes"])} if cell and cell["bytes"] else cell
        for cell in rows["image"].to_pylist()
    ]
    return rows.set_column(at, rows.schema.field(at), pa.array(cells, rows.schema.field(at).type))


def write_file(job: Export, task: Task) -> int:
    """Write a file of the export, which appears whole or not at all, and return its number of rows.

    job: the export.
    task: the file.

    Raises:
        UserError: when the run has changed since the rows were counted.
    """
    rows = 0
    finish = finishing(mark=job.mark, credentials=job.credentials)

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        for piece in task.file.pieces:
            for _, table in read(job.dataset, job.choice, job.schema, piece):
                rows += table.num_rows
                yield _finished(table, finish)

    with job.target.open_output(task.path) as file:
        FORMATS[job.format].write(file, tables(), job.schema)
        if rows != task.file.rows:
            raise UserError(
                f"{task.path} would get {rows} images, but {task.file.rows} were counted: the run in "
                f"{job.dataset.uri} has changed since. {CONTINUE}"
            )
    return rows
