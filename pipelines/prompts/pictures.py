"""The pictures that rows of prompt files name, read and checked: bytes, `{bytes, path}`, or where a picture lies.

What a prompt file may name is limited to some folders, so that a file from somebody else cannot have the job read, and
keep, what lies elsewhere: `prompts.picture_folders`, or else the folder of the prompt file itself.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from models.errors import PromptError
from models.pictures import decoded, decoded_mask, size_of
from pipelines.dataset.failures import Failure
from pipelines.dataset.sources import MOST_PICTURES, Picture, picture
from pipelines.errors import UserError
from pipelines.prompts.config import Prompts
from pipelines.prompts.hash_set import HashSet
from pipelines.prompts.places import is_remote, place, plain
from pipelines.prompts.values import Unusable, missing, printable

MOST_BYTES = 128 << 20
"""Of the file of a picture."""

FAILURES = ("BadPicture", "NoPicture", "PictureElsewhere")
"""Types of the failures of rows whose pictures cannot be used: other files may put them right."""

LARGE = 8_000_000
"""Pixels of a picture above which it is decoded alone: a transparent one of 64 megapixels took 1.3 GB, from a file of
0.3 MB."""

_ROWS_AHEAD = 16
_THREADS = 8
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SHOWN = 100
T = TypeVar("T")


class Given(NamedTuple):
    """The pictures of a row."""

    sources: tuple[Picture, ...] = ()
    """Those to edit."""
    mask: Picture | None = None
    """What of the first is painted anew; None for everything."""


NOTHING = Given()
"""Of a row without pictures."""


class PictureReader:
    """Reads the pictures of rows, and decodes each that is good once, however often rows name it or are read. It may be
    called from several threads.

    prompts: the settings.
    """

    def __init__(self, prompts: Prompts) -> None:
        self._columns = prompts.columns.read_from(("source_image", "source_mask"))
        self._folders = [_absolute(folder) for folder in prompts.picture_folders_given]
        self._one_large = Lock()
        self._good = HashSet()
        self._remembering = Lock()

    def of(self, uri: str, values: Mapping[str, Any]) -> Given | Failure:
        """The pictures of a row, or why it cannot be used.

        uri: of its prompt file.
        values: column -> value.
        """
        folders = self._folders or [_absolute(uri).rpartition("/")[0] or "/"]
        at = "source_image"
        try:
            sources = [picture(one) for one in self._files(values, at, folders)]
            for one in sources:
                self._check(one, decoded)
            at = "source_mask"
            masks = [picture(one) for one in self._files(values, at, folders)]
            if masks and (len(masks) > 1 or not sources):
                raise Unusable("BadPicture", "a mask is one picture, of a row with a picture to edit")
            for one in masks:
                self._check(one, decoded_mask, size_of(sources[0].data))
        except (PromptError, UserError) as error:
            return Failure(error_type="BadPicture", error=self._said(values, at, str(error)))
        except Unusable as unusable:
            return Failure(error_type=unusable.failure.error_type, error=self._said(values, at, unusable.failure.error))
        return Given(tuple(sources), masks[0] if masks else None)

    def _check(self, one: Picture, decode: Callable[..., object], *of: object) -> None:
        """Decode a picture, unless the same file was found good before.

        decode: is given its file.
        of: what else it is given.
        """
        what = f"{one.id} {of}".encode()
        number = int.from_bytes(hashlib.blake2b(what, digest_size=8).digest())
        with self._remembering:
            if number in self._good:
                return
        with self._room_for(one):
            decode(one.data, *of)
        with self._remembering:
            self._good.add(number)

    def _room_for(self, one: Picture) -> AbstractContextManager[Any]:
        """A context to decode a picture in."""
        width, height = size_of(one.data)
        return self._one_large if width * height > LARGE else nullcontext()

    def _said(self, values: Mapping[str, Any], field: str, problem: str) -> str:
        """A message with the column and its value."""
        column = self._columns[field]
        return f"{column} = {_shown(values.get(str(column)))}: {problem}"

    def _files(self, values: Mapping[str, Any], field: str, folders: list[str]) -> list[bytes]:
        column = self._columns[field]
        value = None if column is None else values.get(column)
        given = [one for one in (value if isinstance(value, list) else [value]) if not _nothing(one)]
        if len(given) > MOST_PICTURES:
            raise Unusable("BadPicture", f"a prompt edits at most {MOST_PICTURES} pictures, not {len(given)}")
        return [_file(one, folders) for one in given]


def ahead(rows: Iterable[T], of: Callable[[T], Given | Failure]) -> Iterator[tuple[T, Given | Failure]]:
    """Each row with its pictures, in order, while those of the next rows are read.

    rows: of prompt files.
    of: reads the pictures of a row.
    """
    waiting: deque[tuple[T, Future[Given | Failure]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for row in rows:
                waiting.append((row, pool.submit(of, row)))
                if len(waiting) == _ROWS_AHEAD:
                    first, given = waiting.popleft()
                    yield first, given.result()
            while waiting:
                first, given = waiting.popleft()
                yield first, given.result()
        finally:
            for _, given in waiting:
                given.cancel()


def _nothing(value: Any) -> bool:
    of_struct = isinstance(value, dict) and {*value} <= {"bytes", "path"} and not any(value.values())
    return missing(value) or of_struct or (isinstance(value, str) and not value.strip())


def _file(value: Any, folders: list[str]) -> bytes:
    """The file of a picture."""
    if isinstance(value, Failure):
        raise Unusable("BadPicture", value.error)
    if isinstance(value, dict) and {*value} & {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return _of_fitting_size(value)
    if not isinstance(value, str):
        kind = type(value).__name__
        raise Unusable("BadPicture", f"{kind} is no picture: give bytes, {{bytes, path}}, a path or an address")
    return _read(_allowed(value, folders))


def _allowed(value: str, folders: list[str]) -> str:
    """Where a picture lies, if a row may name it. Links are followed: they are from whoever made the folder."""
    whole = bool(_SCHEME.match(value)) or value.startswith("/")
    uri = _absolute(value if whole else f"{folders[0].rstrip('/')}/{value}")
    if not any(uri.startswith(f"{folder.rstrip('/')}/") for folder in folders):
        raise Unusable(
            "PictureElsewhere",
            f"it lies outside of {' and '.join(folders)}; rows may name what lies below the folder of their prompt "
            "file, or below those in prompts.picture_folders: add its folder there",
        )
    return uri


def _absolute(uri: str) -> str:
    """An absolute local path, or a URI of S3 or of the hub, without `.` and `..`."""
    uri = plain(uri)
    if not is_remote(uri):
        return os.path.normpath(Path(uri).absolute())
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{posixpath.normpath(f'/{path}')[1:]}"


def _read(uri: str) -> bytes:
    try:
        if not is_remote(uri) and not Path(uri).is_file():  # a pipe or a device would never end
            raise FileNotFoundError
        folder, name = place(uri)
        with folder.open_input(name) as file:
            return _of_fitting_size(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        raise Unusable("NoPicture", f"there is no file {printable(uri)}") from None
    except (OSError, ValueError) as error:  # a name that no file can have, a disk that fails
        raise Unusable("BadPicture", f"{printable(uri)} cannot be read: {error}") from None


def _of_fitting_size(data: bytes) -> bytes:
    if len(data) > MOST_BYTES:
        raise Unusable("BadPicture", f"its file has more than {MOST_BYTES:,} bytes; make it smaller")
    return data


def _shown(value: Any) -> str:
    """A value for a message, without the bytes of pictures."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"[:_SHOWN]
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    return printable(repr(value))[:_SHOWN]
