"""An `imagefolder` of Hugging Face: image files in folders, each with a metadata.parquet that has all columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dataset import parquet
from pipelines.dataset.features import features_of, holds_mp4, is_picture
from pipelines.dataset.storage import Storage
from pipelines.export.formats.base import Beside, Written
from pipelines.export.formats.images import ending, key, pictures, row_bytes
from pipelines.export.parts import Part

FILE_NAME = "file_name"
"""The column with the name of the image's file, in its folder."""
_METADATA = "metadata.parquet"

_LOAD = """Run these in this folder.

```python
from pathlib import Path

from datasets import load_dataset

rows = load_dataset(str(Path.cwd()), split="train")
rows[0]["image"]  # a PIL image
```

The images are files; `metadata.parquet` beside them has all other columns, with `file_name`.
"""
_LOAD_MP4 = """Run these in this folder.

```python
from pathlib import Path

from datasets import Video, load_dataset

rows = load_dataset(str(Path.cwd()), split="train")
rows.cast_column("video", Video(decode=False))[0]["video"]["path"]  # an MP4; the package torchcodec decodes it
```

The videos are files; `metadata.parquet` beside them has all other columns, with `file_name`.
"""


class ImageFolder:
    """A `Format`. `--shard-bytes` is the size of a folder's images; they appear before the metadata that names them."""

    name = "imagefolder"
    labelled = False
    videos = True

    def load(self, files: int, schema: pa.Schema) -> str:
        return _LOAD_MP4 if holds_mp4(schema) else _LOAD

    def path(self, part: Part, number: int, count: int) -> str:
        return f"{part.name}/{number:05d}/{_METADATA}"

    def pattern(self, part: Part) -> str:
        return f"{part.name}/**"

    def room(self, file_bytes: int) -> int:
        return file_bytes

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        _names(rows)
        return row_bytes(rows)

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        others = [_as_name(field) for field in schema if field.name != "image"]
        with parquet.Writer(file, pa.schema([pa.field(FILE_NAME, pa.string()), *others])) as writer:
            for rows in parquet.small_groups(self._written(tables, beside)):
                writer.write(rows)

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        columns = [
            FILE_NAME,
            *(field.name for field in parquet.schema_of(folder, path) if is_picture(field)),
        ]
        named = parquet.read(folder, path, columns)
        names = dict.fromkeys(name for column in columns for name in named[column].to_pylist() if name)
        return [str(PurePosixPath(path).parent / str(name)) for name in names]

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        features = features_of(schema)
        # A folder of videos is read as a `videofolder`, which calls the column so.
        return {"video": features.pop("image"), **features} if holds_mp4(schema) else features

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        return ()

    def _written(self, tables: Iterable[pa.Table], beside: Beside) -> Iterator[pa.Table]:
        """The rows with the names of their files, once those are written."""
        for rows in tables:
            names = _names(rows)
            for name, content in zip(names, pc.struct_field(rows["image"], "bytes"), strict=True):
                beside(name, content.as_py())
            rows = rows.drop_columns(["image"]).add_column(0, FILE_NAME, pa.array(names, pa.string()))
            for column in pictures(rows.schema):
                rows = self._with_name(rows, column, beside)
            yield rows

    def _with_name(self, rows: pa.Table, column: str, beside: Beside) -> pa.Table:
        """The rows with names of files in place of pictures, once those are written: each once, as its id names it."""
        cells = rows[column].to_pylist()
        for name, content in {cell["path"]: cell["bytes"] for cell in cells if cell}.items():
            beside(name, content)
        at = rows.schema.get_field_index(column)
        names = pa.array([cell["path"] if cell else None for cell in cells], pa.string())
        return rows.set_column(at, _as_name(rows.schema.field(at)), names)


def name_column(column: str) -> str:
    """The column with the names of the files of a column of pictures, as `datasets` looks for it."""
    return f"{column}_{FILE_NAME}"


def _as_name(field: pa.Field[Any]) -> pa.Field[Any]:
    return field.with_name(name_column(field.name)).with_type(pa.string()) if is_picture(field) else field


def _names(rows: pa.Table) -> list[str]:
    """The names of the files of the images of some rows."""
    needed = rows.select(["image", "group_id", "index_in_group"]).to_pylist()
    return [f"{(name := key(row))}.{ending(name, row['image'])}" for row in needed]
