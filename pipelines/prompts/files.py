"""Finds prompt files and reads them as streams, from local disks or S3."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipelines.dataset.run_json import PromptFile
from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import is_s3, without_scheme
from pipelines.errors import UserError
from pipelines.prompts.config import AUTO, Prompts
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.formats.base import Format, Row
from pipelines.prompts.wanted import Wanted


def files(prompts: Prompts) -> list[str]:
    """The existing prompt files of a run, with globs resolved and sorted.

    Raises:
        UserError: when a file does not exist, or a glob matches none.
    """
    return [uri for pattern in prompts.paths for uri in _expand(pattern)]


def read(uri: str, prompts: Prompts, wanted: Wanted) -> Iterator[Row]:
    """All rows of one file.

    uri: of the file.
    prompts: the settings.
    wanted: the columns to read.

    Raises:
        UserError: when the file is not of its format, or lacks a column.
    """
    format = _format_of(uri, prompts.format)
    with _opened(uri) as file:
        try:
            yield from format.read(file, uri, wanted)
        except UnicodeError as error:
            raise UserError(f"{uri} is not readable as {format.name}: {error}") from error


def kinds(uri: str, prompts: Prompts) -> Mapping[str, pa.DataType] | None:
    """The columns of one file with their types; None where only the values say them.

    uri: of the file.
    prompts: the settings.

    Raises:
        UserError: when the file is not of its format.
    """
    format = _format_of(uri, prompts.format)
    if format.kinds is None:
        return None
    with _opened(uri) as file:
        try:
            return format.kinds(file, uri)
        except UnicodeError as error:
            raise UserError(f"{uri} is not readable as {format.name}: {error}") from error


def _format_of(uri: str, name: str) -> Format:
    if name != AUTO:
        return FORMATS[name]
    ending = Path(uri).suffix.lower()
    for format in FORMATS.values():
        if ending in format.endings:
            return format
    raise UserError(f"{uri}: cannot tell the format from the ending; set prompts.format to one of {[*FORMATS]}")


def digest(uri: str) -> PromptFile:
    """Size and hash of a file.

    Raises:
        UserError: when it cannot be read.
    """
    with _opened(uri) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        return PromptFile(bytes=file.tell(), sha256=sha256)


def _expand(pattern: str) -> list[str]:
    folder, name = _split(pattern)
    pattern = folder.path(name) if is_s3(folder.uri) else without_scheme(pattern)
    if not glob.has_magic(pattern) or folder.exists(name):
        if not folder.exists(name):
            raise UserError(f"prompts.path: there is no file {pattern}")
        if folder.is_folder(name):
            raise UserError(f"prompts.path: {pattern} is a folder; name its files, for example {pattern}/*.parquet")
        if not is_s3(pattern) and not Path(pattern).is_file():
            raise UserError(f"prompts.path: {pattern} is a pipe or a device, which cannot be read twice; give a file")
        return [pattern]
    if is_s3(pattern):
        found = folder.glob(name)
    else:
        found = [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
    if not found:
        raise UserError(f"prompts.path: no file matches {pattern}")
    return sorted(found)


@contextmanager
def _opened(uri: str) -> Iterator[BinaryIO]:
    folder, name = _split(uri)
    try:
        file = folder.open_input(name)
    except FileNotFoundError:
        raise UserError(f"prompts.path: {uri} is not there any more") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise UserError(f"prompts.path: {uri} cannot be read: {error}") from error


def _split(uri: str) -> tuple[Storage, str]:
    """The folder of a file, which answers soon or not at all, and the file's name in it."""
    path = without_scheme(uri)
    if is_s3(path):
        folder, _, name = path.rpartition("/")
        return Storage.open(folder).at_the_start, name
    return Storage.open(Path(path).parent), Path(path).name
