"""Columns that come with the prompts of some runs: pictures to edit, and what is carried along."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipelines.dataset.columns import MEANING

_CARRIED = b"carried"
_OF_PICTURES = b"of pictures"


def carried_field(name: str, kind: pa.DataType, source: str) -> pa.Field[Any]:
    """A column that goes along from the prompt files.

    name: of the column.
    kind: its type.
    source: where it stands in the files.
    """
    return pa.field(name, kind, metadata={MEANING: f"`{source}` of the prompt file, carried along", _CARRIED: b"1"})


def carried_in(table: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of rows that went along from the prompt files."""
    return [field for field in table if _CARRIED in (field.metadata or {})]


SOURCE_IMAGES, SOURCE_MASK, TARGET_CAPTION = "source_images", "source_mask", "target_caption"
DENOISING_STRENGTH = "denoising_strength"
"""Columns of runs whose prompts edit pictures."""

PICTURE_FIELDS = [
    pa.field(name, kind, metadata={MEANING: meaning, _OF_PICTURES: b"1"})
    for name, kind, meaning in (
        (
            SOURCE_IMAGES,
            pa.list_(pa.string()),
            "ids of the pictures that the prompt edits: the run keeps them in `sources/`; null for none",
        ),
        (SOURCE_MASK, pa.string(), "id of the mask, white where the first picture is painted anew; null for none"),
        (
            TARGET_CAPTION,
            pa.string(),
            "what the edited picture shows, which scores compare with in place of the prompt; null for the prompt",
        ),
        (
            DENOISING_STRENGTH,
            pa.float64(),
            "share of the denoising steps that are made, where the model begins from the picture; null without one",
        ),
    )
]
"""Their fields."""


def more_in(table: pa.Schema) -> list[pa.Field[Any]]:
    """The columns of the groups of rows that not every run has: those of pictures, and those that are carried."""
    return [field for field in table if {_CARRIED, _OF_PICTURES} & {*(field.metadata or {})}]
