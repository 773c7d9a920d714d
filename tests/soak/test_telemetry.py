"""The dashboard asks for metrics that exist: its queries against a real scrape of a real Ray."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from typing import Any

import pyarrow as pa
import pytest

from pipelines.cluster.progress import RemoteProgress, Tracker
from pipelines.cluster.telemetry import Telemetry
from tests.conftest import ROOT

pytestmark = pytest.mark.soak

_SECONDS = 150.0


class Worker:
    """Actor that has something to say in every way."""

    def __init__(self, tracker: Any) -> None:
        self._telemetry = Telemetry("generate", RemoteProgress(tracker))

    def work(self) -> None:
        with self._telemetry.busy("denoise"):
            time.sleep(0.01)
        self._telemetry.images(3)
        self._telemetry.failed(["PromptError", "PromptError"], images=8)
        self._telemetry.fill(0.5)
        self._telemetry.gpu_memory(1 << 30)


class Slow:
    """A stage of a Ray Data flow that lasts long enough to be seen."""

    def __call__(self, block: pa.Table) -> pa.Table:
        time.sleep(1.0)
        return block


def scrape() -> str:
    import ray

    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.timeout(300)
def test_the_dashboard_s_metrics_exist(local_ray: None) -> None:
    import ray
    import ray.data

    dashboard = json.loads((ROOT / "infra" / "grafana" / "raydiance.json").read_bytes())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    wanted = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    assert len(wanted) >= 8
    start: Any = ray.remote(num_cpus=0)
    tracker = start(Tracker).remote()
    worker = start(Worker).remote(tracker)
    flow = ray.data.range(16, override_num_blocks=16).map_batches(
        Slow, batch_size=None, batch_format="pyarrow", num_cpus=0.5, compute=ray.data.ActorPoolStrategy(size=1)
    )
    deadline = time.monotonic() + _SECONDS
    missing = wanted
    rounds = 0
    while missing and time.monotonic() < deadline:
        ray.get(worker.work.remote())
        rounds += 1
        for _ in flow.iter_rows():
            pass
        missing -= set(re.findall(r"^(\w+)[{ ]", scrape(), flags=re.M))
    assert not missing
    assert 'error_type="PromptError"' in scrape()
    assert ray.get(tracker.snapshot.remote()).failures == {"PromptError": 2 * rounds}
    ray.kill(worker)
    ray.kill(tracker)
