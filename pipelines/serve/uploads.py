"""Room for requests whose bodies have not come yet: who announces bodies and sends none fills only their own room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.serve.errors import ApiError


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """What bodies of requests may take."""

    most_bytes: int
    """Of one."""
    seconds: float
    """Most until it has come."""
    uploads: Uploads
    """Room for those that have not come yet."""


class Uploads:
    """Counts the requests whose bodies are being read.

    most: in all.
    most_of_one: of one client.
    """

    def __init__(self, *, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._of: Counter[str] = Counter()

    @contextmanager
    def room(self, client: str) -> Iterator[None]:
        """The block reads a body.

        client: address of the caller.

        Raises:
            ApiError: when too many are being read already.
        """
        if self._of[client] >= self._most_of_one or self._of.total() >= self._most:
            raise ApiError(
                429, "too many requests are open whose bodies have not come", code="too_many_uploads", retry_after_s=1
            )
        self._of[client] += 1
        try:
            yield
        finally:
            self._of[client] -= 1
            self._of += Counter()  # forgets clients without any
