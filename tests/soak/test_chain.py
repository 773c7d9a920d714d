"""A chain of stages through Ray Data, without a model: its workers die, and its blocks fill the object store."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from pipelines.cluster.executor import Chain, Stage, running
from pipelines.stages.block import REQUEST, make_request

pytestmark = pytest.mark.soak
BYTES = 25 << 20


class Slow:
    def __call__(self, block: pa.Table) -> pa.Table:
        assert block.num_rows == 1
        time.sleep(0.05)
        return block


class Large(Slow):
    """A block of this many bytes; with the next stages' copies, few fit into the store of `local_ray`."""

    def __call__(self, block: pa.Table) -> pa.Table:
        return block.select([*REQUEST]).append_column("bytes", pa.array([os.urandom(BYTES)], pa.large_binary()))


class Small(Slow):
    def __call__(self, block: pa.Table) -> pa.Table:
        assert len(block["bytes"][0].as_py()) == BYTES
        return block.select([*REQUEST])


def stage(kind: type, threads: int = 1) -> Stage:
    return Stage(kind=kind, arguments={}, reads=REQUEST, writes=REQUEST, workers=1, cpus=0.25, threads=threads)


class Last(Slow):
    """A name of its own, by which its worker is found."""


class Noted:
    """Leaves a file, named as the process, for each actor that works.

    folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / str(os.getpid())

    def __call__(self, block: pa.Table) -> pa.Table:
        self._file.touch()
        time.sleep(0.5)
        return block


def made_of(first: int, end: int, *, last: bool, chain: Chain) -> list[int]:
    requests = [make_request(shard, retry=False) for shard in range(first, end)]
    return [row["shard"] for row in chain.make(requests, last=last)]


def workers(word: str) -> list[int]:
    """Process ids of this Ray's workers whose title has a word in it."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):  # it may end while we look
            title = (entry / "cmdline").read_text(errors="replace")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            raylet = (entry.parent / parent / "cmdline").read_text(errors="replace")
            if word in title and node["ObjectStoreSocketName"] in raylet:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("word", ["ReadRequests", "MapBatches"])
def test_workers_that_die_lose_and_repeat_nothing(local_ray: None, word: str) -> None:
    with running(REQUEST, [stage(Slow), stage(Slow)]) as chain:
        assert sorted(made_of(0, 20, last=False, chain=chain)) == [*range(20)]
        for pid in workers(word):  # between two rounds
            os.kill(pid, signal.SIGKILL)
        rows = chain.make([make_request(shard, retry=False) for shard in range(20, 120)], last=False)
        found = [next(rows)["shard"]]
        assert workers(word)
        for pid in workers(word):  # and within one
            os.kill(pid, signal.SIGKILL)
        found += [row["shard"] for row in rows]
        assert sorted(found) == [*range(20, 120)]


def test_blocks_that_fill_the_object_store_pass(local_ray: None) -> None:
    with running(REQUEST, [stage(Large, threads=2), stage(Large), stage(Large), stage(Small)]) as chain:
        for first in (0, 16):
            assert sorted(made_of(first, first + 16, last=False, chain=chain)) == [*range(first, first + 16)]


def test_a_pool_grows_while_there_is_work(local_ray: None, tmp_path: Path) -> None:
    noted = Stage(
        kind=Noted, arguments={"folder": tmp_path}, reads=REQUEST, writes=REQUEST, workers=3, min_workers=1, cpus=0.25
    )
    with running(REQUEST, [noted, stage(Slow)]) as chain:
        assert len(made_of(0, 1, last=False, chain=chain)) == 1
        assert len([*tmp_path.iterdir()]) == 1
        assert sorted(made_of(1, 120, last=False, chain=chain)) == [*range(1, 120)]
        assert len([*tmp_path.iterdir()]) == 3


def test_a_worker_that_dies_gets_its_place_back_though_a_pool_would_take_it(local_ray: None) -> None:
    """The pool of six would fill the cluster: one that it waits for would take the place of the worker that died."""
    wide = Stage(kind=Slow, arguments={}, reads=REQUEST, writes=REQUEST, workers=6, min_workers=1, cpus=0.5)
    last = Stage(kind=Last, arguments={}, reads=REQUEST, writes=REQUEST, workers=1, cpus=0.5)
    with running(REQUEST, [wide, stage(Slow), last]) as chain:
        rows = chain.make([make_request(shard, retry=False) for shard in range(200)], last=True)
        found = [next(rows)["shard"] for _ in range(40)]
        assert workers("Last")
        for pid in workers("Last"):
            os.kill(pid, signal.SIGKILL)
        found += [row["shard"] for row in rows]
        assert sorted(found) == [*range(200)]
