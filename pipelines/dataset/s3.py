"""The client of S3, with settings of the standard environment, and files in S3 that are read in parts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from pipelines.errors import UserError

_CONNECT_SECONDS = 10
_ANSWER_SECONDS, _ANSWER_AT_THE_START_SECONDS = 60, 10
"""How long a server that was reached may say nothing."""


def filesystem(*, patient: bool) -> Any:
    """The fsspec filesystem of S3; equal ones of a process share an instance.

    patient: off for the start of a job: `outages.retry_transient` tries again for as long as it may, and the client's
        own attempts would come before, each with its time limit.

    Raises:
        UserError: when AWS_ENDPOINT_URL is not the address of a server.
    """
    import s3fs

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UserError(f"AWS_ENDPOINT_URL = {endpoint!r} must begin with http:// or https://")
    made = s3fs.S3FileSystem(
        endpoint_url=endpoint,
        client_kwargs={"region_name": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")},
        config_kwargs={
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS if patient else _ANSWER_AT_THE_START_SECONDS,
            "retries": {"max_attempts": 3 if patient else 1, "mode": "standard"},
            # Some S3 servers send the checksum of the whole object with a part of it, which does not match.
            "response_checksum_validation": "when_required",
            "request_checksum_calculation": "when_required",
        },
        use_listings_cache=False,
    )
    if not patient:
        made.retries = 1  # of s3fs, around those of its client
    return made


class Input(io.RawIOBase):
    """A file on a server; every read is a request of its own, which continues after broken connections.

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
