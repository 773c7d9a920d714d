"""Trouble of a storage server that passes: told apart from what stays wrong, and waited out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""How long one operation is tried before the job stops: longer than the usual outage, shorter than a night."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 30.0

_PASSING_STATUS = {408, 425, 429}
_PASSING_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestTimeTooSkewed"}
_PASSING_CODES |= {"InternalError", "ServiceUnavailable", "IncompleteBody", "RequestLimitExceeded", "NoSuchUpload"}
_PASSING_MODULES = ("aiohttp", "urllib3")
_PASSING_BOTOCORE = {"HTTPClientError", "ConnectionError", "ResponseStreamingError", "IncompleteReadError"}
_PASSING_BOTOCORE |= {"ResponseParserError", "ChecksumError", "FlexibleChecksumError"}


def passing(error: BaseException) -> bool:
    """Can the same request succeed later? 5xx, throttling, timeouts, broken connections and broken bodies can."""
    return any(_passing(cause) for cause in _causes(error))


def persist(operation: Callable[[], T], patience_seconds: float) -> T:
    """The result of `operation`, tried again with growing, jittered waits while its errors are passing ones.

    Jitter keeps hundreds of workers from coming back at the same moment.
    """
    give_up = time.monotonic() + patience_seconds
    longest = _FIRST_WAIT_SECONDS
    while True:
        try:
            return operation()
        except Exception as error:
            wait = random.uniform(0.5, 1.0) * longest
            if not passing(error) or time.monotonic() + wait > give_up:
                raise
            time.sleep(wait)
            longest = min(2 * longest, _LONGEST_WAIT_SECONDS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _passing(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in _PASSING_STATUS or response.get("Error", {}).get("Code") in _PASSING_CODES
    kinds = type(error).__mro__
    return any(
        kind.__module__.startswith(_PASSING_MODULES)
        or (kind.__module__.startswith(("botocore", "aiobotocore")) and kind.__name__ in _PASSING_BOTOCORE)
        for kind in kinds
    )


def of_storage_client(error: BaseException) -> bool:
    """Does the error come from the S3 client, whatever its class?"""
    modules = ("botocore", "aiobotocore", *_PASSING_MODULES)
    return any(kind.__module__.startswith(modules) for kind in type(error).__mro__)
