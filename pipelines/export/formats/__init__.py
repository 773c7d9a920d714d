"""The formats of exports. A new one is a file like these, a line in the table and a paragraph in the room's README.md,
and passes `tests/jobs/test_export.py`."""

from __future__ import annotations

from pipelines.export.formats.base import Format
from pipelines.export.formats.coco import Coco
from pipelines.export.formats.huggingface import HuggingFace
from pipelines.export.formats.imagefolder import FILE_NAME, ImageFolder
from pipelines.export.formats.mds import Mds
from pipelines.export.formats.webdataset import WebDataset

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        WebDataset(),
        HuggingFace(),
        ImageFolder(),
        Coco(),
        Mds(),
    )
}
"""Name, the value of `--format` -> the format."""

OWN_COLUMNS = (FILE_NAME, "id")
"""Columns that formats add to those of rows, which therefore cannot be called so."""
