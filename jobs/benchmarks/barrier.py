"""What it costs that each round of a quota waits for the last shard of the round before it.

    python jobs/bench.py barrier
    python jobs/bench.py barrier --generators 8 --shards 2 --seconds 2

The stages are of the job's shape and run in a real Ray, but sleep instead of drawing and scoring, so that many
generators fit on one machine. The same shards go through them in rounds and all at once. Planning a round and
comparing what it made is not in it: `progress.json` of a run and the guide to quotas have how long that takes.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipelines.cluster.executor import Chain, Stage, running
from pipelines.cluster.session import session
from pipelines.config.tables import RayOptions
from pipelines.errors import UserError
from pipelines.stages.block import REQUEST, make_request

SPREAD = 0.2
"""A shard takes up to this share longer or shorter than another."""
ENCODING, SCORING, WRITING = 0.05, 0.1, 0.02
"""Shares of the time for which a shard is drawn; scoring is of one generator's shards."""

_CPUS = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--generators", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--shards", type=int, nargs="+", default=[2, 4, 8], help="of each generator in a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="for which a shard is drawn")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    if options.rounds < 2:
        raise UserError(f"--rounds {options.rounds}: needs 2 or more, as a barrier lies between two")
    print(f"{options.rounds} rounds, {options.seconds:g} s a shard\n")
    print("generators  shards of each in a round  idle in rounds  idle at once  a barrier costs each")
    for generators in options.generators:
        cpus = RayOptions(generators=generators, cpus_per_generator=_CPUS, cpus_per_scorer=_CPUS, cpus_per_writer=_CPUS)
        with session(cpus), running(REQUEST, _stages(generators, options.seconds)) as chain:
            _seconds(chain, [[make_request(0, retry=False)]])  # the actors start
            for shards in options.shards:
                requests = [make_request(shard, retry=False) for shard in range(shards * generators)]
                rounds = _seconds(chain, [requests] * options.rounds)
                at_once = _seconds(chain, [requests * options.rounds])
                least = shards * options.seconds * options.rounds
                cost = (rounds - at_once) / (options.rounds - 1) / options.seconds
                print(
                    f"{generators:>10}  {shards:>25}  {1 - least / rounds:>14.1%}  {1 - least / at_once:>12.1%}  "
                    f"{cost:>8.2f} shards",
                    flush=True,
                )
    return 0


def _seconds(chain: Chain, rounds: Sequence[Sequence[dict[str, Any]]]) -> float:
    started = time.perf_counter()
    for requests in rounds:
        deque(chain.make(requests, last=False), maxlen=0)
    return time.perf_counter() - started


class Draw:
    """Sleeps as a generator draws: one shard at a time, and it encodes one while it draws the next.

    seconds: for a shard.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._one_at_a_time = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        (shard,) = block["shard"].to_pylist()
        with self._one_at_a_time:
            time.sleep(self._seconds * random.Random(shard).uniform(1 - SPREAD, 1 + SPREAD))
        time.sleep(self._seconds * ENCODING)
        return block


class Pass:
    """Sleeps.

    seconds: for a shard.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, block: pa.Table) -> pa.Table:
        time.sleep(self._seconds)
        return block


def _stages(generators: int, seconds: float) -> list[Stage]:
    def stage(kind: type, seconds: float, workers: int = 1, threads: int = 1) -> Stage:
        arguments = {"seconds": seconds}
        return Stage(
            kind=kind, arguments=arguments, reads=REQUEST, writes=REQUEST, workers=workers, cpus=_CPUS, threads=threads
        )

    others = [stage(Pass, seconds * share / generators) for share in (SCORING, WRITING)]
    return [stage(Draw, seconds, generators, threads=2), *others]
