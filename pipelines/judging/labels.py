"""Labels of images: from a CSV file of a person's own, or, for the embedded world, from its oracle."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.embedded.captions import agreement, named_attributes
from models.embedded.render import IMAGE_SIZE
from pipelines.dataset import images
from pipelines.dataset.prompt_columns import TARGET_CAPTION
from pipelines.errors import UserError

GOOD, BAD = ("1", "true", "yes", "right", "good"), ("0", "false", "no", "wrong", "bad")
_COLUMNS = ["image_id", "label"]


def from_csv(path: str) -> dict[str, bool]:
    """image_id -> whether the image is good.

    path: a CSV file with the columns image_id and label; a label is one of `GOOD` or `BAD`.

    Raises:
        UserError: when the file cannot be read, or a row of it.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
                raise UserError(f"{path} has no column {missing[0]!r}: it needs {' and '.join(_COLUMNS)}")
            found: dict[str, bool] = {}
            for row in reader:
                image_id, label = (str(row[name] or "").strip() for name in _COLUMNS)
                if not image_id or label.lower() not in (*GOOD, *BAD):
                    raise UserError(
                        f"{path}, line {reader.line_num}: image_id = {image_id!r}, label = {label!r}: needs an id "
                        f"and one of {', '.join((*GOOD, *BAD))}"
                    )
                good = label.lower() in GOOD
                if found.setdefault(image_id, good) != good:
                    raise UserError(f"{path}, line {reader.line_num}: {image_id!r} has both labels")
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


class OracleLabels:
    """The oracle of the embedded world: an image is good where it shows all that its text names, which is its
    `target_caption` where it has one, and else its prompt."""

    def __init__(self) -> None:
        from models.embedded.oracle import Oracle

        self._oracle = Oracle()

    def of(self, rows: pa.Table) -> list[bool]:
        """Whether each image is good.

        rows: with the columns image and prompt, and in a run of edits target_caption.

        Raises:
            UserError: when a text is not of the embedded world, or an image not as large as its pictures.
        """
        if not rows.num_rows:  # of a shard whose groups have all failed
            return []
        texts = rows["prompt"]
        if TARGET_CAPTION in rows.column_names:
            texts = pc.coalesce(rows[TARGET_CAPTION], texts)
        try:
            named = [named_attributes(str(text)) for text in texts.to_pylist()]
        except ValueError as error:
            raise UserError(f"the oracle knows the embedded world alone: {error}. Give your own --labels") from error
        pixels = [images.decode(data) for data in pc.struct_field(rows["image"], "bytes").to_pylist()]
        if other := {one.shape[:2] for one in pixels} - {(IMAGE_SIZE, IMAGE_SIZE)}:
            height, width = other.pop()
            raise UserError(
                f"the oracle reads pictures of {IMAGE_SIZE} x {IMAGE_SIZE} pixels, and the run has some of "
                f"{width} x {height}. Give your own --labels"
            )
        seen = self._oracle.read(np.stack(pixels)).labels
        return [all(agreement(*one).values()) for one in zip(named, seen, strict=True)]
