"""The main job on a Ray cluster of two nodes (two raylets on this machine), with replicas of two ranks on both."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from models.generator import Generator
from models.spec import ModelSpec
from pipelines.dataset.images import decode
from pipelines.flows import synth
from pipelines.plan.groups import groups_of
from tests.conftest import Configure
from tests.support.ranks import gone

pytestmark = pytest.mark.soak

RANK = "models.replica.rank"


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        pytest.skip("this process has joined another Ray already")
    each: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    cluster.add_node(**each)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


class Watch(threading.Thread):
    """Notes under which raylet each rank runs, and kills one when both have some and the first shard is done."""

    def __init__(self, output: Path) -> None:
        super().__init__(daemon=True)
        self.output = output
        self.of_raylet: dict[int, set[int]] = defaultdict(set)
        self.killed = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error, StopIteration):
                    if RANK in " ".join(process.cmdline()):
                        raylet = next(above.pid for above in process.parents() if "raylet" in above.name())
                        self.of_raylet[raylet].add(process.pid)
            started = len(self.of_raylet) == 2
            if started and not self.killed and list(self.output.glob("data/*.parquet")):
                self.killed = max(pid for pids in self.of_raylet.values() for pid in pids)
                os.kill(self.killed, signal.SIGKILL)


@pytest.mark.timeout(900)
def test_replicas_on_both_nodes_and_a_rank_that_dies(
    two_nodes: None, configure: Configure, tiny_pipeline: str, tiny_clip: str, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"star {number}\n" for number in range(8)))
    settings = configure(
        prompts={"path": str(prompts)},
        model={"path": tiny_pipeline, "dtype": "float32", "device": "cpu"},
        scoring={"model": tiny_clip},
        sampling={"steps": 120, "width": 16, "height": 16, "max_sequence_length": 4},
        group={"size": 2},
        output={"groups_per_shard": 1},
        ray={
            "generators": 2,
            "gpus_per_replica": 2,
            "cpus_per_generator": 1.25,  # one on each node
            "cpus_per_scorer": 0.5,
            "threads_per_generator": 1,
        },
    )
    watch = Watch(Path(settings.run.output))
    watch.start()
    summary = synth.run(settings)
    watch.ended.set()
    watch.join()

    assert (summary.images_kept + summary.images_rejected, summary.groups_failed) == (16, 0)
    assert watch.killed
    assert len(watch.of_raylet) == 2
    assert sorted(len(pids) for pids in watch.of_raylet.values()) == [2, 4]  # the killed one's replica began anew
    assert all(gone(pid) for pids in watch.of_raylet.values() for pid in pids)
    # What one process makes, but for the rounding of other batch shapes.
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu"))
    images = {(row["prompt"], row["index_in_group"]): row for row in pq.read_table(watch.output / "data").to_pylist()}
    for group in groups_of(pq.read_table(watch.output / "plan"))[:2]:
        for index, expected in enumerate(generator.generate([group])[0]):
            made = decode(images[group.prompt, index]["image"]["bytes"])
            assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1
