"""Where files may lie: local paths, file:// and s3://."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from pipelines.errors import UserError

S3 = "s3://"
"""Beginning of a URI in S3."""

_PATTERNS = "#$*?[\\]{}"
_COLUMN = re.compile(r"[^=]+=.*", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)(.*)", re.DOTALL)


def is_s3(uri: str) -> bool:
    """Whether a URI, as `without_scheme` gives it, is in S3."""
    return uri.startswith(S3)


def bucket(uri: str) -> str:
    """The bucket of a URI in S3; "" where it names none."""
    return uri.removeprefix(S3).split("/", 1)[0]


def without_scheme(uri: str) -> str:
    """A local path, also of a file:// URI, or an s3:// URI with its scheme in small letters.

    Raises:
        UserError: when the URI has another scheme.
    """
    if "\0" in uri:
        raise UserError(f"{uri!r}: is no path: it has a NUL")
    found = _SCHEME.fullmatch(uri)
    if found is None:
        return uri
    scheme, slashes, rest = found[1].lower(), found[2], found[3]
    if scheme == "s3":
        return S3 + slashes[2:] + rest
    if scheme != "file":
        raise UserError(f"{uri!r}: only local paths, file:// and s3:// are supported; copy it to one of them first")
    if len(slashes) == 2:
        host, _, rest = rest.partition("/")
        if host != "localhost":
            raise UserError(f"{uri!r} names the host {host!r}: write file:// and an absolute path, file:///folder/file")
    return "/" + unquote(rest)


def check_readable(uri: str, setting: str) -> None:
    """Check that the usual readers of datasets find files below a folder, and find in them what they hold: the table in
    pipelines/export/README.md says which ones do not, where.

    uri: of a folder that a job is to write.
    setting: what chooses the folder, for the message.

    Raises:
        UserError: when a part of the path is a pattern to some of them, or a column.
    """
    for part in PurePosixPath(uri.removeprefix(S3)).parts:
        if special := sorted({*part} & {*_PATTERNS}):
            raise UserError(
                f"{setting} = {uri!r}: some of DuckDB, polars, datasets, Daft, Spark and webdataset "
                f"take {' '.join(special)} in {part!r} for a pattern or a variable, and find nothing; choose another"
            )
        if _COLUMN.fullmatch(part):
            raise UserError(
                f"{setting} = {uri!r}: readers such as DuckDB and polars take the folder {part!r} for a column of "
                "every row, in place of the rows' own of this name; choose a name without '='"
            )
