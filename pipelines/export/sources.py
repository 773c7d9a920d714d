"""The pictures that exported images edit, as columns of the export: rows of a run have their ids only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa

from pipelines.dataset import parquet
from pipelines.dataset.features import is_picture, picture_field
from pipelines.dataset.prompt_columns import SOURCE_IMAGES, SOURCE_MASK
from pipelines.dataset.sources import MOST_PICTURES, Picture, Sources, file_name
from pipelines.dataset.storage import Storage
from pipelines.plan.groups import pictures_of

SOURCE, MASK = "source_image", "mask_image"
"""The columns of the first picture, and of the mask. Further pictures have `source_image_2` and so on."""

_ROWS = 16
"""Most rows whose pictures are in memory, each once for every row."""


def column(number: int) -> str:
    """The name of a picture's column.

    number: of the picture in its prompt, from 1.
    """
    return SOURCE if number == 1 else f"{SOURCE}_{number}"


def names() -> list[str]:
    """All names that columns of pictures may have in an export."""
    return [*(column(number) for number in range(1, MOST_PICTURES + 1)), MASK]


def columns(dataset: Storage, files: Iterable[str], of_run: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of pictures that an export of some files needs; none where the run edits none.

    dataset: the output folder of the run.
    files: shard files of the run.
    of_run: schema of one of them.
    """
    if SOURCE_IMAGES not in of_run.names:
        return []
    most, masked = 0, False
    for path in files:
        rows = parquet.read(dataset, path, [SOURCE_IMAGES, SOURCE_MASK])
        most = max([most, *(len(ids or ()) for ids in rows[SOURCE_IMAGES].to_pylist())])
        masked = masked or rows[SOURCE_MASK].null_count < rows.num_rows
    pictures = [
        picture_field(column(number), "the picture that the prompt edits" + (f", number {number}" * (number > 1)))
        for number in range(1, most + 1)
    ]
    return [*pictures, *([picture_field(MASK, "white where the picture is painted anew")] if masked else [])]


def with_pictures(dataset: Storage, rows: pa.Table, target: pa.Schema) -> Iterator[pa.Table]:
    """Some rows with the columns of pictures of a schema, a few at a time.

    dataset: the output folder of the run.
    rows: of it.
    target: schema of the export.
    """
    wanted = [field for field in target if is_picture(field)]
    for start in range(0, rows.num_rows, _ROWS) if wanted else ():
        few = rows.slice(start, _ROWS)
        files = _sources(dataset).read(pictures_of(few))
        cells = {id: {"bytes": data, "path": file_name(Picture(id, data))} for id, data in files.items()}
        named = few.select([SOURCE_IMAGES, SOURCE_MASK]).to_pylist()
        shown = [_named(row) for row in named]
        for field in wanted:
            few = few.append_column(field, pa.array([cells.get(one.get(field.name, "")) for one in shown], field.type))
        yield few
    if not wanted:
        yield rows


def _named(row: dict[str, Any]) -> dict[str, str]:
    """Column -> id of the picture."""
    found = {column(number): id for number, id in enumerate(row[SOURCE_IMAGES] or (), start=1)}
    return found | ({MASK: row[SOURCE_MASK]} if row[SOURCE_MASK] else {})


@lru_cache(maxsize=1)
def _sources(dataset: Storage) -> Sources:
    """Of a finished run, which stays as it is: where each picture lies is looked up once."""
    return Sources(dataset)
