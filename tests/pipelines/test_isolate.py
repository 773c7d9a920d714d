"""A failure costs what failed and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ServiceError
from pipelines.dataset.failures import Failure
from pipelines.stages.isolate import packs_of_equal, run_isolated


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_packs_are_equal_and_complete(keys: list[int], size: int) -> None:
    packs = packs_of_equal(keys, size)
    assert sorted(index for pack in packs for index in pack) == list(range(len(keys)))
    assert all(len({keys[index] for index in pack}) == 1 and len(pack) <= size for pack in packs)
    assert len(packs) == sum(-(-keys.count(key) // size) for key in set(keys))


def double(numbers: list[int]) -> list[int]:
    if 13 in numbers:
        raise ValueError("no thirteens")
    if 66 in numbers:
        raise RuntimeError
    return [2 * number for number in numbers]


def test_a_failing_item_costs_itself_only() -> None:
    items = [1, 13, 2, 66, 13]
    outcomes = dict(run_isolated(items, [[0, 1, 2], [3], [4]], double))
    assert outcomes == {
        0: 2,
        1: Failure(error_type="ValueError", error="no thirteens", attempts=2),
        2: 4,
        3: Failure(error_type="RuntimeError", error="RuntimeError()", attempts=2),
        4: Failure(error_type="ValueError", error="no thirteens", attempts=1),
    }


def test_a_passing_trouble_is_tried_again() -> None:
    calls: list[list[int]] = []

    def once_broken(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 1:
            raise RuntimeError
        return numbers

    assert list(run_isolated([5], [[0]], once_broken)) == [(0, 5)]
    assert calls == [[5], [5]]


def test_a_service_that_nobody_can_use_ends_it_all() -> None:
    def unreachable(numbers: list[int]) -> list[int]:
        raise ServiceError("nothing answers")

    with pytest.raises(ServiceError):
        list(run_isolated([1, 2], [[0, 1]], unreachable))
