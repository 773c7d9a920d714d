"""COCO's JSON beside an image folder: captions, and labels of whole images, as readers of COCO look for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dataset import parquet
from pipelines.dataset.features import is_picture
from pipelines.dataset.storage import Storage
from pipelines.export.formats.base import Written
from pipelines.export.formats.imagefolder import FILE_NAME, ImageFolder, name_column
from pipelines.export.formats.images import json_of, key, pictures
from pipelines.export.labels import values
from pipelines.export.parts import Part
from pipelines.export.rows import is_embedding

_FOLDER = "annotations"
_ROWS = 1000
_LOAD = """Run these in this folder.

```python
from pathlib import Path

from datasets import load_dataset

rows = load_dataset(str(Path.cwd()), split="train")  # the images with all columns
```

```python
from pycocotools.coco import COCO

labels = COCO("annotations/labels_train.json")
category = labels.loadCats(labels.getCatIds())[0]  # its name is a label
images = labels.loadImgs(labels.getImgIds(catIds=[category["id"]]))  # with file_name, relative to this folder
captions = COCO("annotations/captions_train.json").imgToAnns[images[0]["id"]]
```

`annotations/labels_train.json` has the labels of whole images as annotations without boxes (`image_id`, `category_id`);
the `supercategory` of a category is the column that it is a value of.
"""


class Coco(ImageFolder):
    """A `Format`: an image folder with `annotations/captions_PART.json` and `annotations/labels_PART.json` beside it.
    Ids are numbers from 1, in the order of the rows; categories have the same ids in all parts."""

    name = "coco"
    labelled = True
    videos = False

    def load(self, files: int, schema: pa.Schema) -> str:
        return _LOAD

    def sizes(self, rows: pa.Table) -> NDArray[np.int64]:
        for row in rows.drop_columns(["image", *pictures(rows.schema)]).to_pylist():
            json_of(key(row), row)
        return super().sizes(rows)

    def index(
        self, folder: Storage, files: Mapping[Part, Sequence[Written]], schema: pa.Schema, labels: Sequence[str]
    ) -> Sequence[str]:
        numbers = _numbers(folder, [file for of in files.values() for file in of], labels)
        categories = [{"id": id, "name": name, "supercategory": label} for (label, name), id in numbers.items()]
        files_of = [name_column(column) for column in pictures(schema)]
        others = [field.name for field in schema if not (is_embedding(field) or is_picture(field))]
        columns = [*(name for name in others if name != "image"), *files_of]
        folder.sweep(_FOLDER)
        paths, first = [], 1
        for part, of_part in files.items():
            paths += [f"{_FOLDER}/{kind}_{part.name}.json" for kind in ("captions", "labels")]
            captions = _captions(folder, of_part, first)
            found = _labels(folder, of_part, labels, numbers, first)
            for path, lists in (
                (paths[-2], {"annotations": captions}),
                (paths[-1], {"annotations": found, "categories": categories}),
            ):
                with folder.open_output(path) as file:
                    _write(file, {"images": _images(folder, of_part, columns, files_of, first), **lists})
            first += sum(file.rows for file in of_part)
        return paths


def _rows(folder: Storage, files: Iterable[Written], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for file in files:
        with parquet.opened(folder, file.path) as reader:
            for batch in reader.batches(_ROWS, columns):
                yield from batch.to_pylist()


def _numbers(folder: Storage, files: Sequence[Written], labels: Sequence[str]) -> dict[tuple[str, str], int]:
    """(Column, value) -> the id of the category; columns in the order of `labels`, values sorted."""
    found: dict[str, set[str]] = {label: set() for label in labels}
    for row in _rows(folder, files, labels):
        for label in labels:
            found[label].update(values(row, label))
    in_order = [(label, value) for label in labels for value in sorted(found[label])]
    return {one: number for number, one in enumerate(in_order, start=1)}


def _images(
    folder: Storage, files: Sequence[Written], columns: Sequence[str], files_of: Sequence[str], first: int
) -> Iterator[dict[str, Any]]:
    """All columns of each image, under the names of COCO where it has some."""
    number = first
    for file in files:
        inside = PurePosixPath(file.path).parent
        for row in _rows(folder, [file], [FILE_NAME, *columns]):
            named = {name: str(inside / row[name]) for name in (FILE_NAME, *files_of) if row[name]}
            yield {"id": number, **row, **named}
            number += 1


def _captions(folder: Storage, files: Sequence[Written], first: int) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(_rows(folder, files, ["prompt"]), start=first):
        yield {"id": number, "image_id": number, "caption": row["prompt"]}


def _labels(
    folder: Storage, files: Sequence[Written], labels: Sequence[str], numbers: Mapping[tuple[str, str], int], first: int
) -> Iterator[dict[str, Any]]:
    number = 1
    for image, row in enumerate(_rows(folder, files, labels), start=first):
        for label in labels:
            for value in values(row, label):
                yield {"id": number, "image_id": image, "category_id": numbers[label, value]}
                number += 1


def _write(file: IO[bytes], lists: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """One JSON object with lists that are not held in memory, an entry a line."""
    file.write(b'{"info": {}, "licenses": []')
    for name, entries in lists.items():
        file.write(f', "{name}": ['.encode())
        for at, entry in enumerate(entries):
            file.write((",\n" if at else "\n").encode() + json.dumps(entry, ensure_ascii=False).encode())
        file.write(b"]")
    file.write(b"}\n")
