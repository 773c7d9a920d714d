"""The client of S3, with settings of the standard environment."""

from __future__ import annotations

import os
from typing import Any

_CONNECT_SECONDS = 10
_ANSWER_SECONDS, _ANSWER_AT_THE_START_SECONDS = 60, 10
"""How long a server that was reached may say nothing."""


def filesystem(*, patient: bool) -> Any:
    """The fsspec filesystem of S3.

    patient: off for the start of a job: `outages.retry_transient` tries again for as long as it may, and the client's
        own attempts would come before, each with its time limit.
    """
    import s3fs

    made = s3fs.S3FileSystem(
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
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
