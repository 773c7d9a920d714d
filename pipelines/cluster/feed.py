"""Feeds requests to a Ray Data flow that runs already: the driver gives them to an actor, whom read tasks ask for them.

So one execution of Ray Data serves a whole job. Its requests may become known bit by bit, and its actors stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

LANES = 16
"""Read tasks, each of which gives every 16th request. Ray Data takes few blocks of a task at a time, and looks about
ten times a second."""


class Feed:
    """Actor. It keeps all requests, as Ray may repeat a read task, which then has to give the same ones again."""

    def __init__(self) -> None:
        self._requests: list[dict[str, Any]] = []
        self._ended = False
        self._changed = asyncio.Event()

    async def add(self, requests: Sequence[dict[str, Any]], *, last: bool) -> None:
        """Take further requests.

        requests: rows for the first stage.
        last: whether no others will follow.
        """
        self._requests += requests
        self._ended = last
        self._changed.set()
        self._changed = asyncio.Event()

    async def get(self, number: int) -> dict[str, Any] | None:
        """The request of this number, from 0, as soon as it is there; None when it will never be."""
        while number >= len(self._requests) and not self._ended:
            await self._changed.wait()
        return self._requests[number] if number < len(self._requests) else None


class Requests(Datasource):
    """What a feed gives, each request in a block of its own.

    feed: handle of a `Feed`.
    """

    def __init__(self, feed: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._feed = feed

    @property
    def supports_distributed_reads(self) -> bool:
        """No: it is read on the driver's node, which outlives the spot machines of the workers."""
        return False

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        nothing_known = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(partial(_read, self._feed, lane), nothing_known) for lane in range(LANES)]


def _read(feed: Any, lane: int) -> Iterator[pa.Table]:
    number = lane
    while (request := ray.get(feed.get.remote(number))) is not None:
        yield pa.Table.from_pylist([request])
        number += LANES
