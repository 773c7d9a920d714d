"""The command that serves, told to end while it works."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
IMAGES = "/v1/images/generations"


@dataclass(frozen=True)
class Running:
    url: str
    process: subprocess.Popen[str]


@pytest.fixture
def running(tiny_pipeline: str) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = [f"model={tiny_pipeline}", "dtype=float32", "size=16x16", "steps=2", "max_steps=1000"]
    command = [sys.executable, "jobs/serve.py", "--port", str(port), "max_sequence_length=16", *settings]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    for line in process.stdout:
        if " answers at " in line:
            break
    yield Running(f"http://127.0.0.1:{port}", process)
    process.kill()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_nobody_is_cut_off(running: Running, told: signal.Signals) -> None:
    url, body = running.url, {"prompt": "a red star"}
    with ThreadPoolExecutor() as pool:
        long = pool.submit(httpx2.post, url + IMAGES, json={**body, "steps": 1000, "n": 4}, timeout=300)
        while (
            'raydiance_queue_seconds_count{model="pipeline"} 1.0' not in httpx2.get(f"{url}/metrics", timeout=60).text
        ):
            time.sleep(0.1)
        running.process.send_signal(told)
        while httpx2.get(f"{url}/readyz", timeout=60).status_code == 200:
            time.sleep(0.05)
        refused = httpx2.post(url + IMAGES, json=body, timeout=60)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert not long.done()
        answer = long.result()
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 4
    assert running.process.wait(120) == 0


def test_errors_of_rays_web_server_have_the_apis_form(running: Running) -> None:
    from pipelines.serve.launch import NAME

    code = f"import ray; from ray import serve; ray.init('auto'); serve.delete({NAME!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    gone = httpx2.get(f"{running.url}/v1/models", timeout=60)
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "not_ready")
