"""How many requests and images a caller may have in a minute, and the headers that say so as OpenAI's do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from pipelines.serve.errors import ApiError

_KINDS = ("requests", "images")
LIMITS = tuple(f"x-ratelimit-{what}-{kind}" for kind in _KINDS for what in ("limit", "remaining", "reset"))
"""The headers that say how much a caller may ask for."""


@dataclass
class _Bucket:
    """Room that fills up again evenly, within a minute."""

    left: float
    at: float


class Rates:
    """Limits of each caller; two keys of one name are one caller, and without keys all callers are one.

    requests, images: most of them in a minute; 0 for no limit.
    clock: gives the time in seconds.
    """

    def __init__(self, *, requests: int, images: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = dict(zip(_KINDS, (requests, images), strict=True))
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, kind: str, caller: str, count: int, headers: MutableMapping[str, str]) -> None:
        """Count something that a caller asks for.

        kind: one of `_KINDS`.
        caller: name of the key.
        count: how many.
        headers: gets what the answer says of the limit.

        Raises:
            ApiError: when the caller has to wait.
        """
        limit = self._limits[kind]
        if not limit:
            return
        now, pace = self._clock(), limit / 60
        bucket = self._buckets.setdefault((kind, caller), _Bucket(limit, now))
        bucket.left, bucket.at = min(limit, bucket.left + (now - bucket.at) * pace), now
        missing = count - bucket.left
        if missing <= 0:
            bucket.left -= count
        said = (str(limit), str(int(bucket.left)), f"{(limit - bucket.left) / pace:.3g}s")
        headers.update(zip((name for name in LIMITS if name.endswith(kind)), said, strict=True))
        if missing > 0:
            wait = max(1, math.ceil(missing / pace))
            raise ApiError(
                429,
                f"this key may have {limit} {kind} in a minute; {count} are free again in {wait} s",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )
