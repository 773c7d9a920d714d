"""The two steps of an export that any worker can do: measure the rows of a shard, and write a file of the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset.content_credentials import Credentials, finishing, weighing
from pipelines.dataset.features import is_picture
from pipelines.dataset.finished import CONTINUE, check
from pipelines.dataset.names import FileEntry, file_entry
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.finished import sizes_of
from pipelines.export.formats import FORMATS
from pipelines.export.formats.images import endings_of
from pipelines.export.layout import OutputFile, Weighed
from pipelines.export.parts import Part, Splits
from pipelines.export.rows import Choice, Piece, read


@dataclass(frozen=True, kw_only=True)
class Task:
    """A file of the export to write."""

    path: str
    """Relative to the target folder."""
    part: Part
    """Whose rows it has."""
    file: OutputFile
    """Where they lie."""


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
    splits: Splits
    """How rows are divided."""
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
    finish = weighing(mark=job.mark, credentials=job.credentials)
    places, sizes, splits = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int8)]
    endings: set[str] = set()
    piece = Piece(file=entry.path, first=0, end=entry.rows or 0)
    for numbers, rows in read(job.dataset, job.choice, job.schema, piece):
        try:
            sizes.append(FORMATS[job.format].sizes(_finished(rows, finish)))
        except ValueError as error:
            raise UserError(f"{job.dataset.path(entry.path)}, rows {numbers[0]} to {numbers[-1]}: {error}") from error
        places.append(numbers)
        splits.append(job.splits.of(rows))
        names: Any = pc.struct_field(rows["image"], "path")
        endings.update(PurePosixPath(name or "").suffix.removeprefix(".") for name in names.to_pylist())
        endings.update(beside for field in job.schema if is_picture(field) for beside in endings_of(rows, field.name))
    return Weighed(
        file=entry.path,
        places=np.concatenate(places),
        sizes=np.concatenate(sizes),
        splits=np.concatenate(splits),
        endings=frozenset(endings),
    )


def _finished(rows: pa.Table, finish: Callable[[bytes], bytes]) -> pa.Table:
    """The rows with the images as the export has them."""
    at = rows.schema.get_field_index("image")
    cells = [
        {**cell, "bytes": finish(cell["bytes"])} if cell and cell["bytes"] else cell
        for cell in rows["image"].to_pylist()
    ]
    return rows.set_column(at, rows.schema.field(at), pa.array(cells, rows.schema.field(at).type))


def files_of(job: Export, path: str) -> tuple[str, ...]:
    """The paths of a file of the export, which is there, and of those beside it.

    job: the export.
    path: of the file.
    """
    return (path, *FORMATS[job.format].beside(job.target, path))


def make_file(job: Export, task: Task) -> tuple[FileEntry, ...]:
    """The entries of a file of the export and of those beside it; they are written unless all are there.

    job: the export.
    task: the file.

    Raises:
        UserError: when the run has changed since the rows were counted.
    """
    if not (job.target.exists(task.path) and {*files_of(job, task.path)} <= {*sizes_of(job.target, [task.path])}):
        write_file(job, task)
    return tuple(file_entry(job.target, path) for path in files_of(job, task.path))


def write_file(job: Export, task: Task) -> None:
    """Write a file of the export, which appears whole or not at all.

    job: the export.
    task: the file.

    Raises:
        UserError: when the run has changed since the rows were counted.
    """
    rows = 0
    number = job.splits.names.index(task.part.split)
    folder = PurePosixPath(task.path).parent
    finish = finishing(mark=job.mark, credentials=job.credentials)

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        for piece in task.file.pieces:
            for _, table in read(job.dataset, job.choice, job.schema, piece):
                of_split = table.filter(pa.array(job.splits.of(table) == number))
                rows += of_split.num_rows
                yield _finished(of_split, finish)

    def beside(name: str, content: bytes) -> None:
        job.target.write_bytes(str(folder / name), content)

    with job.target.open_output(task.path) as file:
        FORMATS[job.format].write(file, tables(), job.schema, beside)
        if rows != task.file.rows:
            raise UserError(
                f"{task.path} would get {rows} images, but {task.file.rows} were counted: the run in "
                f"{job.dataset.uri} has changed since. {CONTINUE}"
            )
