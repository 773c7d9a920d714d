"""Finds prompt files: by name, by glob, and in folders, whose names `key=value` are columns (as Hive has them)."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from pipelines.dataset.storage import Storage
from pipelines.dataset.uris import is_s3, without_scheme
from pipelines.errors import UserError
from pipelines.prompts import hub
from pipelines.prompts.compression import ENDINGS
from pipelines.prompts.config import AUTO, Prompts
from pipelines.prompts.formats import FORMATS
from pipelines.prompts.formats.base import Format
from pipelines.prompts.hub import HubFolder, is_hub

_NULL = "__HIVE_DEFAULT_PARTITION__"
_HIDDEN = (".", "_")


class Source(NamedTuple):
    """A prompt file."""

    uri: str
    """Where it lies."""
    keys: Mapping[str, str | None]
    """The columns that its folders give to all of its rows, of those folders that the setting does not name itself."""


def find(prompts: Prompts) -> list[Source]:
    """The existing prompt files of a run: those of a folder and of a glob sorted, and each once, however often it is
    named.

    Raises:
        UserError: when a file does not exist, a glob matches none, or a folder has files of several formats.
    """
    found: dict[str, Source] = {}
    for pattern in prompts.paths:
        base, uris = _expand(pattern, prompts.format)
        for uri in uris:
            found.setdefault(uri, Source(uri, _keys(uri, base)))
    return [*found.values()]


def place(uri: str) -> tuple[Storage | HubFolder, str]:
    """The folder of a file, which answers soon or not at all, and the file's name in it."""
    path = plain(uri)
    if not is_remote(path):
        return Storage.open(Path(path).parent), Path(path).name
    folder, _, name = path.rpartition("/")
    return HubFolder(folder) if is_hub(path) else Storage.open(folder).at_the_start, name


def plain(uri: str) -> str:
    """A local path, or a URI of S3 or of the hub, without a slash at the end where it has a name before it."""
    path = hub.normalised(uri) if is_hub(uri) else without_scheme(uri)
    is_root = path == "/" or (is_s3(path) and path.count("/") == 3)
    return path if is_root else path.rstrip("/")


def is_remote(path: str) -> bool:
    """Whether a path, as `plain` gives it, is of S3 or of the hub."""
    return is_s3(path) or is_hub(path)


def format_of(uri: str, name: str) -> Format:
    """The format of a file.

    uri: of the file.
    name: the setting `prompts.format`.

    Raises:
        UserError: when the setting leaves it to the ending, and that says nothing.
    """
    if name != AUTO:
        return FORMATS[name]
    if format := _by_ending(uri):
        return format
    raise UserError(f"{uri}: cannot tell the format from the ending; set prompts.format to one of {[*FORMATS]}")


def _by_ending(uri: str) -> Format | None:
    path = Path(uri)
    ending = (path.with_suffix("") if path.suffix.lower() in ENDINGS else path).suffix.lower()
    return next((format for format in FORMATS.values() if ending in format.endings), None)


def _expand(pattern: str, format: str) -> tuple[str, Sequence[str]]:
    """The files of a pattern, and the folder below which the names of folders are keys; of a file itself."""
    folder, name = place(pattern)
    pattern = folder.path(name) if is_s3(folder.uri) else plain(pattern)
    if not glob.has_magic(pattern) or folder.exists(name):
        if not folder.exists(name):
            raise UserError(f"prompts.path: there is no file {pattern}")
        if folder.is_folder(name):
            return pattern, _of_one_format(pattern, folder.files_below(name), format)
        if not is_remote(pattern) and not Path(pattern).is_file():
            raise UserError(f"prompts.path: {pattern} is a pipe or a device, which cannot be read twice; give a file")
        return pattern, [pattern]
    if is_remote(pattern):
        found = [*folder.glob(name)]
    else:
        found = [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
    if not found:
        raise UserError(f"prompts.path: no file matches {pattern}")
    return _before_wildcards(pattern), sorted(found)


def _of_one_format(folder: str, names: Iterable[str], format: str) -> list[str]:
    """The files of a folder that are prompts by their endings; what tools hide or keep for themselves are none."""
    by_format: dict[str, list[str]] = {}
    for name in names:
        if not any(part.startswith(_HIDDEN) and "=" not in part for part in name.split("/")):
            kind = _by_ending(name)
            if kind is not None and format in (AUTO, kind.name):
                by_format.setdefault(kind.name, []).append(f"{folder}/{name}")
    if not by_format:
        wanted = "prompts" if format == AUTO else format
        raise UserError(f"prompts.path: the folder {folder} has no file with an ending of {wanted}")
    if len(by_format) > 1:
        kinds = ", ".join(f"{kind} ({files[0]})" for kind, files in by_format.items())
        raise UserError(
            f"prompts.path: the folder {folder} has files of several formats: {kinds}. Set prompts.format to one of "
            f"them, or name the files, for example {folder}/**/*{FORMATS[next(iter(by_format))].endings[0]}"
        )
    (files,) = by_format.values()
    return sorted(files)


def _before_wildcards(pattern: str) -> str:
    parts = pattern.split("/")
    return "/".join(parts[: next(at for at, part in enumerate(parts) if glob.has_magic(part))])


def _keys(uri: str, base: str) -> dict[str, str | None]:
    return dict(_read_keys(uri.removeprefix(base).split("/")[:-1]))


def _read_keys(folders: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for folder in folders:
        key, is_key, value = folder.partition("=")
        if key and is_key:
            yield unquote(key), None if value == _NULL else unquote(value)
