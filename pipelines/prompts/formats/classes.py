"""Lists of classes, as of ImageNet: a line is a class, its synonyms apart by commas, after a WordNet id or without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.formats.lines import lines_of
from pipelines.prompts.formats.text import kinds
from pipelines.prompts.wanted import Wanted

_LINE = re.compile(r"\s*(?:([nvars]\d{8})\b[\s,]*)?(.*)")


def read(file: BinaryIO, uri: str, wanted: Wanted) -> Iterator[Row]:
    """The rows of a file; see `Format.read`. The prompt is the first synonym, the concept all of them, and the id the
    WordNet id."""
    names = [wanted.columns.name_of(field) for field in ("prompt", "prompt_id", "concept")]
    for number, line in enumerate(lines_of(file, uri), start=1):
        match = _LINE.fullmatch(line.strip())
        if match and line.strip():
            wordnet_id, synonyms = match.groups()
            first = synonyms.split(",")[0].replace("_", " ").strip()
            yield number, dict(zip(names, (first, wordnet_id, synonyms), strict=True))


FORMAT = Format(name="classes", endings=(), read=read, kinds=kinds)
