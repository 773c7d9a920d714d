"""Recognises transient errors of a storage server, and retries them."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""How long one operation is retried before the job stops: longer than a usual outage, shorter than a night."""
PATIENCE_AT_THE_START_SECONDS = 30.0
"""The same for what a job does first, while someone waits to see it begin."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 30.0
_SILENT_SECONDS = 5.0
"""Outages that are shorter than this are not mentioned."""

_log = logging.getLogger(__name__)

_TRANSIENT_STATUS = {408, 425, 429}
_TRANSIENT_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestTimeTooSkewed"}
_TRANSIENT_CODES |= {"InternalError", "ServiceUnavailable", "IncompleteBody", "RequestLimitExceeded", "NoSuchUpload"}
_TRANSIENT_MODULES = ("aiohttp", "urllib3")
_TRANSIENT_BOTOCORE = {"HTTPClientError", "ConnectionError", "ResponseStreamingError", "IncompleteReadError"}
_TRANSIENT_BOTOCORE |= {"ResponseParserError", "ChecksumError", "FlexibleChecksumError"}


def is_transient(error: BaseException) -> bool:
    """Whether the same request can succeed later: after 5xx, throttling, timeouts, broken connections or bodies."""
    return any(_transient(cause) for cause in causes(error))


def retry_transient(operation: Callable[[], T], patience_seconds: float) -> T:
    """The result of an operation, retried with growing waits while its errors are transient.

    The waits are random, so that hundreds of workers do not retry at the same moment.

    operation: called until it succeeds; its last error is raised.
    patience_seconds: how long it is retried.
    """
    began, told = time.monotonic(), False
    give_up = began + patience_seconds
    longest = _FIRST_WAIT_SECONDS
    while True:
        try:
            return operation()
        except Exception as error:
            wait = random.uniform(0.5, 1.0) * longest
            if not is_transient(error) or time.monotonic() + wait > give_up:
                raise
            if not told and time.monotonic() - began > _SILENT_SECONDS:
                told = True
                left = give_up - time.monotonic()
                _log.warning(
                    "the storage server fails, trying for %.0f s more: %s: %s", left, type(error).__name__, error
                )
            time.sleep(wait)
            longest = min(2 * longest, _LONGEST_WAIT_SECONDS)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from, in their order."""
    while error is not None:
        yield error
        error = error.__cause__


def _transient(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    response = getattr(error, "response", None)
    if isinstance(status := getattr(response, "status_code", None), int):  # of the Hugging Face hub
        return status >= 500 or status in _TRANSIENT_STATUS
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in _TRANSIENT_STATUS or response.get("Error", {}).get("Code") in _TRANSIENT_CODES
    kinds = type(error).__mro__
    return any(
        kind.__module__.startswith(_TRANSIENT_MODULES)
        or (kind.__module__.startswith("httpx") and kind.__name__ == "TransportError")
        or (kind.__module__.startswith(("botocore", "aiobotocore")) and kind.__name__ in _TRANSIENT_BOTOCORE)
        for kind in kinds
    )


def of_storage_client(error: BaseException) -> bool:
    """Whether an error comes from the S3 client, whatever its class."""
    modules = ("botocore", "aiobotocore", *_TRANSIENT_MODULES)
    return any(kind.__module__.startswith(modules) for kind in type(error).__mro__)
