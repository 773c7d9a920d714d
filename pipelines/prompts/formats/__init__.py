"""The formats of prompt files. A new one is a file like these and a line in the table; README.md lists the endings."""

from __future__ import annotations

from pipelines.prompts.formats import classes, delimited, json_array, jsonl, parquet, text
from pipelines.prompts.formats.base import Format

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        parquet.FORMAT,
        jsonl.FORMAT,
        json_array.FORMAT,
        delimited.CSV,
        delimited.TSV,
        text.FORMAT,
        classes.FORMAT,
    )
}
"""Name, the value of `prompts.format` -> the format."""
