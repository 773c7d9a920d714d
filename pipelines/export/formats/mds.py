"""Shards of MosaicML's streaming (MDS), written without its package: the samples, and before them where each begins."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset.features import holds_mp4
from pipelines.dataset.storage import Storage
from pipelines.export.formats.base import Beside, Written
from pipelines.export.formats.images import ending, json_of, key, pictures
from pipelines.export.parts import Part

_MOST_BYTES = (1 << 32) - (1 << 20)
"""Offsets are numbers of 32 bits."""
_ENCODINGS = {"image": "png", "prompt": "str"}
"""Column -> its encoding; "png" hands the bytes to Pillow, which knows WebP too. Pictures to edit, of which a row
may have none, are bytes, and all other columns JSON."""
_OF_MP4 = {**_ENCODINGS, "image": "bytes"}

_LOAD = """Run this in this folder, where the package mosaicml-streaming is installed.

```python
from streaming import StreamingDataset

rows = StreamingDataset(local="train", batch_size=1, shuffle=False)
rows[0]["image"], rows[0]["prompt"]  # a PIL image, and a text; the other columns are there too
```
"""


class Mds:
    """A `Format`. `--shard-bytes` is the size of the samples of a shard."""

    name = "mds"
    labelled = False
    videos = True

    def load(self, files: int, schema: pa.Schema) -> str:
        return _LOAD.replace("a PIL image,", "the bytes of an MP4,") if holds_mp4(schema) else _LOAD

    def path(self, part: Part, number: int, count: int) -> str:
        return f"{part.name}/shard.{number:05d}.mds"

    def pattern(self, part: Part) -> str:
        return f"{part.name}/*.mds"

    def room(self, file_bytes: int) -> int:
        return min(file_bytes, _MOST_BYTES)

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        return np.array([len(sample) + 4 for sample in _samples(rows, rows.schema)], np.int64)

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        config = json.dumps(_config(schema), sort_keys=True).encode()
        sizes: list[int] = []
        with tempfile.TemporaryFile() as samples:  # their number and their sizes stand before them
            for table in tables:
                for sample in _samples(table, schema):
                    samples.write(sample)
                    sizes.append(len(sample))
            first = 4 + 4 * (len(sizes) + 1) + len(config)
            file.write(np.uint32(len(sizes)).tobytes())
            file.write((np.cumsum([0, *sizes]) + first).astype(np.uint32).tobytes())
            file.write(config)
            samples.seek(0)
            shutil.copyfileobj(samples, file)

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        return ()

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        return {}

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        """index.json beside the shards of each part, which the reader reads first."""
        paths = []
        for part, of_part in files.items():
            shards = [
                {
                    **_config(schema),
                    "raw_data": {"basename": PurePosixPath(file.path).name, "bytes": file.bytes, "hashes": {}},
                    "samples": file.rows,
                    "zip_data": None,
                }
                for file in of_part
            ]
            paths.append(f"{part.name}/index.json")
            content = json.dumps({"version": 2, "shards": shards}, sort_keys=True)
            folder.write_bytes(paths[-1], content.encode())
        return paths


def _config(schema: pa.Schema) -> dict[str, Any]:
    """What a shard says of itself."""
    names = sorted(schema.names)
    encodings = {**(_OF_MP4 if holds_mp4(schema) else _ENCODINGS), **dict.fromkeys(pictures(schema), "bytes")}
    return {
        "column_encodings": [encodings.get(name, "json") for name in names],
        "column_names": names,
        "column_sizes": [None] * len(names),
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
        "version": 2,
    }


def _samples(rows: pa.Table, schema: pa.Schema) -> Iterator[bytes]:
    """Each row: the sizes of its columns, and the columns."""
    for row in rows.to_pylist():
        name = key(row)
        ending(name, row["image"])
        own = {"image": row["image"]["bytes"], "prompt": row["prompt"].encode()}
        own |= {column: row[column]["bytes"] if row[column] else b"" for column in pictures(schema)}
        columns = [own[n] if n in own else json_of(f"{name}, column {n}", row[n]) for n in sorted(schema.names)]
        yield np.array([len(column) for column in columns], np.uint32).tobytes() + b"".join(columns)
