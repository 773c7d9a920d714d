"""What is remembered of dying workers, and what follows from it; and what errors of torch mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cluster.crashes import Crashes, isolated
from pipelines.cluster.progress import Progress, RemoteProgress, Tracker
from pipelines.dataset.failures import Failure
from pipelines.dataset.progress_json import Snapshot
from pipelines.stages.isolate import run_isolated


def test_a_death_counts_for_the_groups_in_work() -> None:
    crashes = Crashes()
    assert crashes.attempt(7) == {}
    crashes.begin(7, [0, 1])
    crashes.begin(7, [2, 3])  # 0 and 1 are through
    crashes.begin(8, [0])
    assert crashes.attempt(7) == {2: 1, 3: 1}
    crashes.begin(7, [2, 3])
    assert crashes.attempt(7) == {2: 2, 3: 2}
    crashes.end(7)
    assert crashes.attempt(7) == {}
    assert crashes.attempt(8) == {0: 1}


def test_what_met_death_twice_is_made_alone_and_then_given_up() -> None:
    packs = [[0, 1], [2, 3], [4, 5]]
    assert isolated(packs, {0: 1, 1: 1}) == (packs, [])
    assert isolated(packs, {2: 2, 3: 2}) == ([[0, 1], [2], [3], [4, 5]], [])
    assert isolated(packs, {2: 3, 3: 2}) == ([[0, 1], [3], [4, 5]], [2])


def test_a_pack_that_is_too_large_is_halved() -> None:
    sizes, recovered = [], []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2 or 6 in items:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return items

    outcomes = dict(run_isolated(range(8), [list(range(8))], run, lambda: recovered.append(1)))
    failed = outcomes.pop(6)
    assert outcomes == {i: i for i in range(8) if i != 6}
    assert isinstance(failed, Failure)
    assert failed.attempts == 4
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 1, 1]
    assert len(recovered) == 5


def test_progress_passes_over_what_failed() -> None:
    tracker = Tracker()
    tracker.add("generate", 2.5)
    tracker.fail("generate", {"E": 2}, 8)
    tracker.fail("score", {"F": 1}, 4)
    tracker.add("write", 4)
    tracker.spend("write", "write", 1.5)
    snapshot = tracker.snapshot()
    assert snapshot == Snapshot(
        stages={"generate": 10.5, "score": 12, "write": 16},
        made=4,
        failures={"E": 2, "F": 1},
        busy_seconds={"write.write": 1.5},
    )


class Actor:
    """A handle as Ray gives it: every method has `remote`. It runs the call at once and keeps what it returned."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=getattr(self._tracker, method))


def report(progress: Progress) -> list[dict[int, int]]:
    """Everything that a worker can say; returns what it was told."""
    progress.add("generate", 2.5)
    progress.fail("score", {"E": 1}, 4)
    progress.spend("write", "write", 1.5)
    told = [progress.attempt(7)]
    progress.begin(7, [0, 1])
    told.append(progress.attempt(7))
    progress.end(7)
    return [*told, progress.attempt(7)]


def test_a_worker_says_the_same_here_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda returned, **_: returned)
    here, elsewhere = Tracker(), Tracker()
    remote = RemoteProgress(Actor(elsewhere))
    assert report(here) == report(remote) == [{}, {0: 1, 1: 1}, {}]
    assert here.snapshot() == remote.snapshot(1.0) != Tracker().snapshot()
