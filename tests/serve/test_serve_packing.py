"""The queue that packs groups: what shares a batch, and what waits for what."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from pipelines.serve.packing import PackQueue, Room, Waiting


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=20), st.integers(1, 4), st.integers(1, 12))
def test_packs_are_compatible_bounded_and_led_by_the_oldest(
    arrivals: list[tuple[int, int]], items: int, pixels: int
) -> None:
    queue: PackQueue[int] = PackQueue(Room(items=items, pixels=pixels, wait_s=0))
    for number, (key, size) in enumerate(arrivals):
        queue.put(Waiting(item=number, key=key, pixels=size))
    left = list(range(len(arrivals)))
    while left:
        pack = [waiting.item for waiting in queue.take()]
        assert pack[0] == left[0]
        assert len({arrivals[number][0] for number in pack}) == 1
        assert len(pack) == 1 or (len(pack) <= items and sum(arrivals[number][1] for number in pack) <= pixels)
        passed_over = [n for n in left if n < pack[-1] and n not in pack]
        assert all(arrivals[n][0] != arrivals[pack[0]][0] for n in passed_over)
        left = [number for number in left if number not in pack]


def test_the_oldest_waits_for_company_and_can_leave() -> None:
    queue: PackQueue[str] = PackQueue(Room(items=2, pixels=9, wait_s=60))
    gone, first, second = (Waiting(item=name, key=0, pixels=1) for name in ("gone", "first", "second"))
    queue.put(gone)
    assert queue.discard(gone)
    assert not queue.discard(gone)
    queue.put(first)
    threading.Timer(0.05, queue.put, [second]).start()
    assert queue.take() == [first, second]  # at once, for the pack is full
    threading.Timer(0.05, queue.close).start()
    assert queue.take() == []


def test_what_nobody_can_join_waits_for_nobody() -> None:
    queue: PackQueue[str] = PackQueue(Room(items=2, pixels=9, wait_s=60))
    alone = [Waiting(item=name, key=None, pixels=1) for name in ("one", "other")]
    for waiting in alone:
        queue.put(waiting)
    watchdog = threading.Timer(10, queue.close)
    watchdog.start()
    assert [queue.take() for _ in alone] == [[waiting] for waiting in alone]
    watchdog.cancel()
