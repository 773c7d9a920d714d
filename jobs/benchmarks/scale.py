"""The limits of a large run: planning, the driver's work per shard, and an estimate for a cluster of 1,000 nodes.

    python jobs/bench.py scale --prompts 1000000
    python jobs/bench.py scale --prompts 100000 --shards 2000

Planning and the driver are measured: planning with real prompt files and the real plan, the driver with a real Ray Data
flow of the job's shape whose stages do nothing. The estimate is computed from these numbers and --image-seconds, with
the request rates that S3 documents for one prefix (3,500 writes and 5,500 reads a second).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipelines.cluster.executor import Stage, most_shards, running
from pipelines.cluster.session import session
from pipelines.config.load import build
from pipelines.config.run import RunConfig
from pipelines.config.tables import RayOptions
from pipelines.dataset.storage import Storage
from pipelines.plan.shard_size import MOST_GROUPS_PER_SHARD
from pipelines.plan.write import write_plan
from pipelines.stages.block import REQUEST, make_request

S3_WRITES_PER_SECOND, S3_READS_PER_SECOND, S3_NAMES_PER_LIST = 3500, 5500, 1000
READS_PER_SHARD, WRITES_PER_SHARD = 8, 3
"""Requests of one shard, counted at a proxy: the plan twice and checks for old files; data, rejected and failed."""

_CALLS, _WARM_UP = 16, 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--prompts", type=int, default=1_000_000, help="to plan; 0 leaves planning out")
    parser.add_argument("--shards", type=int, default=1000, help="to push through the driver; 0 leaves it out")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--image-seconds", type=float, default=3.0, help="of one GPU for one image")
    parser.add_argument("--run-prompts", type=int, default=10_000_000, help="of the run on paper")
    parser.add_argument("--images-per-prompt", type=int, default=8, help="of the run on paper")
    parser.add_argument("--image-mb", type=float, default=1.6, help="of one encoded image")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost in the driver process for each prompt or shard."""

    seconds: float
    """CPU seconds."""
    bytes: float
    """Bytes of memory."""


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    planning = driver = None
    if options.prompts:
        planning = _in_new_process(_plan, options.prompts)
        _say("planning", planning, options.prompts, "prompts")
    if options.shards:
        driver = _in_new_process(_push, options.shards)
        _say("driver", driver, options.shards, "shards")
    _on_paper(options, planning, driver)
    return 0


def _say(what: str, cost: Cost, count: int, things: str) -> None:
    print(
        f"{what}: {count:,} {things} in {cost.seconds * count:.1f} s of CPU, {1 / cost.seconds:,.0f} a second, "
        f"{cost.bytes:,.0f} bytes of memory each",
        flush=True,
    )


def _on_paper(options: argparse.Namespace, planning: Cost | None, driver: Cost | None) -> None:
    generators = options.nodes * options.gpus_per_node
    images = options.run_prompts * options.images_per_prompt
    shard_images = min(256 / options.image_mb, MOST_GROUPS_PER_SHARD * options.images_per_prompt)
    shards = images / shard_images
    per_second = generators / (shard_images * options.image_seconds)
    hours = images * options.image_seconds / generators / 3600
    rows: list[tuple[str, str]] = [
        ("cluster", f"{options.nodes:,} nodes, {generators:,} generators, {options.image_seconds:g} s an image"),
        (
            "run",
            f"{images:,} images, {shards:,.0f} shards, {hours:.1f} hours",
        ),
        ("shards a second", f"{per_second:.1f}"),
    ]
    if driver:
        busy = per_second * driver.seconds
        most = generators / busy
        size = min(int(shards), most_shards(_stages(generators)))
        rows += [
            ("driver busy", f"{busy:.0%} of one core; it is the limit at {most:,.0f} generators"),
            ("workers start", f"every {size:,} shards, {size * driver.bytes / 1e6:,.0f} MB in the driver by then"),
        ]
    if planning:
        minutes = planning.seconds * options.run_prompts / 60
        rows.append(("planning", f"{minutes:.1f} minutes, {planning.bytes * options.run_prompts / 1e6:,.0f} MB"))
    reads, writes = per_second * READS_PER_SHARD, per_second * WRITES_PER_SHARD
    lists = 3 * shards / S3_NAMES_PER_LIST
    rows += [
        ("S3, steady", f"{reads:.0f} reads and {writes:.0f} writes a second ({reads / S3_READS_PER_SECOND:.1%} and "
                       f"{writes / S3_WRITES_PER_SECOND:.1%} of one prefix)"),
        ("S3, at the start", f"{generators * READS_PER_SHARD / 2:,.0f} reads at once, "
                             f"{generators * READS_PER_SHARD / 2 / S3_READS_PER_SECOND:.0f} s of one prefix"),
        ("resume", f"{lists:,.0f} list requests, about {lists / 10:.0f} s"),
    ]  # fmt: skip
    print("on paper")
    for name, text in rows:
        print(f"  {name:<17}{text}")


def _in_new_process(measure: Callable[[int], Cost], count: int) -> Cost:
    """The cost in a new process, so that measurements do not share memory."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, (count,))


def _plan(prompts: int) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "prompts.txt")
        with path.open("w") as file:
            file.writelines(f"a photo of rare concept number {number} beside a table\n" for number in range(prompts))
        few = Path(name, "few.txt")
        few.write_text("a prompt that warms everything up\n")
        write_plan(_config(few), Storage.open(Path(name, "few")))
        return _cost(lambda: write_plan(_config(path), Storage.open(Path(name, "out"))), prompts)


def _config(prompts: Path) -> RunConfig:
    table = {"run": {"output": "unused"}, "prompts": {"path": str(prompts)}, "model": {"path": "owner/model"}}
    return build({**table, "scoring": {"model": "ViT-L-14"}}, file="the benchmark")


class Nothing:
    """A stage that returns its input."""

    def __call__(self, block: pa.Table) -> pa.Table:
        return block


def _stages(workers: int) -> list[Stage]:
    idle = Stage(kind=Nothing, arguments={}, reads=REQUEST, writes=REQUEST, workers=workers, cpus=0.25, threads=_CALLS)
    return [idle] * 3


def _push(shards: int) -> Cost:
    options = RayOptions(cpus_per_generator=0.25, cpus_per_scorer=0.25, cpus_per_writer=0.25)
    with session(options), running(REQUEST, _stages(1)) as chain:

        def push(count: int) -> None:
            for _ in chain.make([make_request(shard, retry=False) for shard in range(count)], last=False):
                pass

        push(_WARM_UP)
        return _cost(lambda: push(shards), shards)


def _cost(work: Callable[[], object], count: int) -> Cost:
    memory, started = _peak_bytes(), time.process_time()
    work()
    return Cost(seconds=(time.process_time() - started) / count, bytes=(_peak_bytes() - memory) / count)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
