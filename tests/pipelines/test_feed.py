"""A feed gives requests as they become known, the same ones to whoever asks again, and says when there are no more."""

from __future__ import annotations

import asyncio

from pipelines.cluster.feed import Feed

ROWS = [{"shard": shard, "retry": False} for shard in range(3)]


def test_who_asks_early_waits() -> None:
    async def both() -> None:
        feed = Feed()
        early = asyncio.create_task(feed.get(1))
        await feed.add(ROWS[:1], last=False)
        await asyncio.sleep(0)
        assert not early.done()
        await feed.add(ROWS[1:], last=False)
        assert await early == ROWS[1]

    asyncio.run(both())


def test_a_read_task_that_is_repeated_gets_the_same_again() -> None:
    async def twice() -> None:
        feed = Feed()
        await feed.add(ROWS, last=False)
        assert [await feed.get(number) for number in (0, 1, 2, 0, 1)] == [*ROWS, *ROWS[:2]]

    asyncio.run(twice())


def test_who_waits_for_what_will_never_be_is_told() -> None:
    async def end() -> None:
        feed = Feed()
        waiting = asyncio.create_task(feed.get(3))
        await feed.add(ROWS, last=False)
        await feed.add((), last=True)
        assert await waiting is None
        assert await feed.get(2) == ROWS[2]

    asyncio.run(end())
