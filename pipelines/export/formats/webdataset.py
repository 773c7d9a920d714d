"""WebDataset: tars in which an image is `KEY.png`, `KEY.txt` (its prompt) and `KEY.json` (all its other columns)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset.features import features_of, holds_mp4
from pipelines.dataset.storage import Storage
from pipelines.export.formats.base import Beside, Written
from pipelines.export.formats.images import ending, json_of, key, member, pictures
from pipelines.export.parts import Part
from pipelines.export.rows import is_embedding

_IN_OTHER_MEMBERS = ("image", "prompt")
_END = 2 * tarfile.BLOCKSIZE

_LOAD = """Run these in this folder.

```python
from pathlib import Path

from datasets import load_dataset

rows = load_dataset(str(Path.cwd()), split="train")  # with the column types that stand at the top of this page
rows[0]  # {"png" (or "webp"): a PIL image, "txt": the prompt, "json": the other columns, ...}
```

```python
import webdataset

tars = webdataset.WebDataset("train-{000000..LAST}.tar", shardshuffle=False)
rows = tars.decode("pil").to_tuple("png;webp", "txt", "json")
```

`load_dataset("webdataset", data_files=...)` guesses the types of the columns from the first five samples; give it
`features=load_dataset_builder(str(Path.cwd())).info.features`. `train-index.json` names every tar with its samples and
bytes, for the random access of the package wids, which webdataset no longer brings along.
"""
_FOR_MP4 = {
    "from datasets import load_dataset": "from datasets import Video, load_dataset",
    'rows[0]  # {"png" (or "webp"): a PIL image, "txt": the prompt, "json": the other columns, ...}': (
        'rows = rows.cast_column("mp4", Video(decode=False))  # the package torchcodec decodes them\n'
        'rows[0]  # {"mp4": its bytes, "txt": the prompt, "json": the other columns, ...}'
    ),
    'decode("pil").to_tuple("png;webp"': 'decode().to_tuple("mp4"',
}
"""What the text says of pictures -> what it says of MP4s, which readers hand on as bytes."""


class WebDataset:
    """A `Format`. The key is `{group_id}-{index_in_group}`; image vectors are binary, in `KEY.embedding.npy`. Tars have
    no time, owner or host name."""

    name = "webdataset"
    labelled = False
    videos = True

    def load(self, files: int, schema: pa.Schema) -> str:
        text = _LOAD.replace("LAST", f"{files - 1:06d}")
        for of_pictures, of_mp4 in _FOR_MP4.items() if holds_mp4(schema) else ():
            text = text.replace(of_pictures, of_mp4)
        return text

    def path(self, part: Part, number: int, count: int) -> str:
        return f"{part.name}-{number:06d}.tar"

    def pattern(self, part: Part) -> str:
        return f"{part.name}-[0-9]*.tar"  # rejected-*.tar would take rejected-test-000000.tar along

    def room(self, file_bytes: int) -> int:
        return file_bytes // tarfile.RECORDSIZE * tarfile.RECORDSIZE - _END

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        return np.array([sum(map(_member_bytes, members)) for _, members in _samples(rows)], np.int64)

    def write(self, file: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, beside: Beside) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for table in tables:
                for name, members in _samples(table):
                    for of, data in members:
                        member = tarfile.TarInfo(f"{name}.{of}")  # its defaults: no time, no owner, mode 644
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))

    def beside(self, folder: Storage, path: str) -> Sequence[str]:
        return ()

    def features(self, schema: pa.Schema, endings: Sequence[str]) -> Mapping[str, Any]:
        text = {"_type": "Value", "dtype": "string"}
        vectors = [field for field in schema if is_embedding(field)]
        elsewhere = {*_IN_OTHER_MEMBERS, *pictures(schema), *(field.name for field in vectors)}
        others = [field for field in schema if field.name not in elsewhere]
        return {
            **{ending: {"_type": "Video" if ending == "mp4" else "Image"} for ending in endings},
            "txt": text,
            "json": features_of(pa.schema(others)),
            **{f"{name}.npy": feature for name, feature in features_of(pa.schema(vectors)).items()},
            "__key__": text,
            "__url__": text,
        }

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        """The indexes that WebDataset's random access (wids) reads, one of each part."""
        paths = []
        for part, of_part in files.items():
            content = {
                "__kind__": "wids-shard-index-v1",
                "wids_version": 1,
                "name": part.name,
                "shardlist": [{"url": file.path, "nsamples": file.rows, "filesize": file.bytes} for file in of_part],
            }
            paths.append(f"{part.name}-index.json")
            folder.write_bytes(paths[-1], (json.dumps(content, indent=1) + "\n").encode())
        return paths


def _samples(rows: pa.Table) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The samples of some rows: (key, [(ending, content)])."""
    vectors = {field.name: _vectors(rows[field.name]) for field in rows.schema if is_embedding(field)}
    texts = rows.drop_columns([*vectors])
    for number, row in enumerate(texts.to_pylist()):
        name = key(row)
        image, prompt = (row.pop(column) for column in _IN_OTHER_MEMBERS)
        beside = {column: row.pop(column) for column in pictures(rows.schema)}
        members = [(ending(name, image), image["bytes"]), ("txt", prompt.encode()), ("json", json_of(name, row))]
        members += [(member(column, cell), cell["bytes"]) for column, cell in beside.items() if cell]
        members += [(f"{column}.npy", of[number]) for column, of in vectors.items() if of[number]]
        yield name, members


def _vectors(column: pa.ChunkedArray[Any]) -> list[bytes]:
    """The .npy file of each vector; b"" for null."""
    files = []
    for vector in column:
        file = io.BytesIO()
        if vector.is_valid:
            np.save(file, vector.values.to_numpy())
        files.append(file.getvalue())
    return files


def _member_bytes(member: tuple[str, bytes]) -> int:
    """Size of a member: a header block, and the content in whole blocks."""
    return tarfile.BLOCKSIZE * (1 + -(-len(member[1]) // tarfile.BLOCKSIZE))
