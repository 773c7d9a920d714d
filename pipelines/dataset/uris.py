"""Where files may lie: local paths, file:// and s3://."""

from __future__ import annotations

import re
from urllib.parse import unquote

from pipelines.errors import UserError

S3 = "s3://"
"""Beginning of a URI in S3."""

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
