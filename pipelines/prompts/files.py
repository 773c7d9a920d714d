"""Reads prompt files as streams, from local disks or S3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import BinaryIO

from pipelines.dataset.run_json import PromptFile
from pipelines.errors import UserError
from pipelines.prompts.config import AUTO, Prompts
from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.places import Source, format_of, place
from pipelines.prompts.stream import as_utf8, compression, unpacked


def read(source: Source, prompts: Prompts) -> Iterator[Row]:
    """All rows of one file. A key of its folders comes before a column of the same name in the file.

    source: the file.
    prompts: the settings.

    Raises:
        UserError: when the file is not of its format, or lacks a column.
    """
    names = [(at, field, name or field) for at, (field, name) in enumerate(asdict(prompts.columns).items())]
    given = {at: source.keys[name] for at, _, name in names if name in source.keys}
    columns = replace(prompts.columns, **{field: "" for at, field, _ in names if at in given})
    format = format_of(source.uri, prompts.format)
    with _opened(source.uri) as file:
        try:
            content = _content(file, source.uri, format, prompts.encoding)
            rows = format.read(content, source.uri, columns)
            yield from _with(given, rows) if given else rows
        except UnicodeError as error:
            raise UserError(f"{source.uri} is not readable as {format.name}: {error}") from error


def _with(given: Mapping[int, str | None], rows: Iterator[Row]) -> Iterator[Row]:
    for number, values in rows:
        yield number, [given.get(at, value) for at, value in enumerate(values)]


def digest(source: Source) -> PromptFile:
    """Size and hash of a file, and of the keys of its folders where it has any.

    Raises:
        UserError: when it cannot be read.
    """
    with _opened(source.uri) as file:
        hashed = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        if source.keys:
            hashed.update(json.dumps([*source.keys.items()]).encode())
        return PromptFile(bytes=file.tell(), sha256=hashed.hexdigest())


def _content(file: BinaryIO, uri: str, format: Format, encoding: str) -> BinaryIO:
    """What a format reads: of text the unpacked content in UTF-8."""
    if format.text:
        return as_utf8(unpacked(file, uri), None if encoding == AUTO else encoding)
    if packed := compression(file, uri):
        raise UserError(f"{uri} is compressed with {packed} as a whole, and {format.name} is read in parts: unpack it")
    return file


@contextmanager
def _opened(uri: str) -> Iterator[BinaryIO]:
    folder, name = place(uri)
    try:
        file = folder.open_input(name)
    except FileNotFoundError:
        raise UserError(f"prompts.path: {uri} is not there any more") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise UserError(f"prompts.path: {uri} cannot be read: {error}") from error
