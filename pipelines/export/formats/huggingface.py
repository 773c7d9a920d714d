"""A Hugging Face dataset folder: Parquet files, named and written as `datasets` itself does for the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset import parquet
from pipelines.dataset.features import features_of
from pipelines.dataset.storage import Storage
from pipelines.export.formats.base import Beside, Written
from pipelines.export.formats.images import row_bytes
from pipelines.export.parts import Part
from pipelines.summary.readers import readers


class HuggingFace:
    """A `Format`. `--shard-bytes` is the size before compression, as in `datasets`; images hardly compress."""

    name = "huggingface"
    labelled = False
    videos = True

    def load(self, files: int, schema: pa.Schema) -> str:
        return readers(schema)

    def path(self, part: Part, number: int, count: int) -> str:
        return f"{part.folder}/{part.split}-{number:05d}-of-{count:05d}.parquet"

    def pattern(self, part: Part) -> str:
        return f"{part.folder}/{part.split}-*.parquet"

    def room(self, file_bytes: int) -> int:
        return file_bytes

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        return row_bytes(rows)

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        with parquet.Writer(file, schema) as writer:
            for rows in parquet.small_groups(tables):
                writer.write(rows)

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        return ()

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        return features_of(schema)

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        return ()
