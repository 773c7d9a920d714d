"""Reads prompt files as streams, from local disks, S3 or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from pipelines.dataset.failures import Failure
from pipelines.dataset.run_json import PromptFile
from pipelines.errors import UserError
from pipelines.prompts.compression import compression, unpacked
from pipelines.prompts.config import AUTO, Prompts
from pipelines.prompts.encodings import as_utf8
from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.places import Source, format_of, place
from pipelines.prompts.wanted import Wanted


def read(source: Source, prompts: Prompts, wanted: Wanted) -> Iterator[Row]:
    """All rows of one file. A key of its folders comes before a column of the same name in the file.

    source: the file.
    prompts: the settings.
    wanted: the columns to read.

    Raises:
        UserError: when the file is not of its format, or lacks a column.
    """
    wanted.enter(source.keys)
    with _content(source, prompts) as (format, file):
        rows = format.read(file, source.uri, wanted)
        yield from _with(source.keys, rows) if source.keys else rows


def _with(keys: Mapping[str, str | None], rows: Iterator[Row]) -> Iterator[Row]:
    for number, values in rows:
        yield number, values if isinstance(values, Failure) else {**values, **keys}


def kinds(source: Source, prompts: Prompts) -> Mapping[str, pa.DataType] | None:
    """The columns of one file with their types; None where only the values say them.

    source: the file.
    prompts: the settings.

    Raises:
        UserError: when the file is not of its format.
    """
    with _content(source, prompts) as (format, file):
        if format.kinds is None:
            return None
        return {**format.kinds(file, source.uri, Wanted(prompts.columns)), **dict.fromkeys(source.keys, pa.string())}


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


@contextmanager
def _content(source: Source, prompts: Prompts) -> Iterator[tuple[Format, BinaryIO]]:
    """The format of a file, and what it reads: of text the unpacked content in UTF-8."""
    uri = source.uri
    format = format_of(uri, prompts.format)
    with _opened(uri) as file:
        try:
            if format.text:
                yield format, as_utf8(unpacked(file, uri), None if prompts.encoding == AUTO else prompts.encoding)
                return
            if packed := compression(file, uri):
                raise UserError(
                    f"{uri} is compressed with {packed} as a whole, and {format.name} is read in parts: unpack it"
                )
            yield format, file
        except UnicodeError as error:
            raise UserError(f"{uri} is not readable as {format.name}: {error}") from error


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
