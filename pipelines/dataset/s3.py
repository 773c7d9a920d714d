"""The S3 client, from the standard environment, and files in S3 that are read in parts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from pipelines.errors import UserError

PREFIX = "s3://"
_CONNECT_SECONDS = 10


def is_s3(uri: str) -> bool:
    """Whether a URI is in S3."""
    return uri.startswith(PREFIX)


def bucket(uri: str) -> str:
    """The bucket of a URI; "" where it names none."""
    return uri.removeprefix(PREFIX).split("/", 1)[0]


def filesystem() -> Any:
    """The fsspec filesystem, one per process and environment.

    Raises:
        UserError: when AWS_ENDPOINT_URL is not the address of a server.
    """
    import s3fs

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UserError(f"AWS_ENDPOINT_URL = {endpoint!r} must begin with http:// or https://")
    return s3fs.S3FileSystem(
        endpoint_url=endpoint,
        client_kwargs={"region_name": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")},
        config_kwargs={
            "connect_timeout": _CONNECT_SECONDS,
            "retries": {"max_attempts": 3, "mode": "standard"},  # `retry_transient` does the rest
            # Some S3 servers send the checksum of the whole object with a part of it, which does not match.
            "response_checksum_validation": "when_required",
            "request_checksum_calculation": "when_required",
        },
        use_listings_cache=False,
    )


class Input(io.RawIOBase):
    """A file in S3; every read is a request of its own, which continues after broken connections.

    size: of the file in bytes.
    fetch: gives the bytes from one place to another.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._fetch(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
