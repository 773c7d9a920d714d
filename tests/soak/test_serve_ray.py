"""The endpoint behind Ray Serve: two copies of the model, overload, a killed copy, callers who go away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from openai import OpenAI

from models.generator import Generator
from models.spec import Group, ModelSpec, Sampling
from pipelines.dataset.ai_mark import marked
from pipelines.dataset.images import encode
from pipelines.serve.app import app
from pipelines.serve.settings import ServeArgs
from tests.support.served import TINY

OVERLOAD_SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "5"))
TIMEOUT_SECONDS = 240.0

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def args(tiny_pipeline: str, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> ServeArgs:
    return ServeArgs(
        model=tiny_pipeline,
        dtype="float32",
        scoring=tiny_clip,
        replicas=2,
        cpus_per_replica=0.2,
        threads_per_replica=1,
        groups_per_batch=2,
        max_queue=8,  # eight that come at once wait here until Serve has found them their copies
        timeout_s=TIMEOUT_SECONDS,
        queue_timeout_s=TIMEOUT_SECONDS / 2,
        state_dir=str(tmp_path_factory.mktemp("state")),
        **TINY,
    )


@pytest.fixture(scope="module")
def url(local_ray: None, args: ServeArgs) -> Iterator[str]:
    """A running endpoint; room for 2 x 4 requests in the copies of the model and 8 that wait."""
    from ray import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(http_options={"port": port})
    serve.run(app(args))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()  # type: ignore[no-untyped-call]


def post(url: str, *, timeout: float = TIMEOUT_SECONDS, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/images/generations", json={"prompt": "a red star", **body}, timeout=timeout)


def metric(url: str, line: str) -> float:
    lines = httpx2.get(f"{url}/metrics", timeout=60).text.splitlines()
    return sum(float(found.split()[-1]) for found in lines if found.startswith(line))


def wait_until(true: Callable[[], bool], seconds: float) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.1)
    return time.monotonic() - began


def pids(name: str) -> list[int]:
    """Processes of the living copies of a deployment."""
    from ray._private.state import actors

    found = [actor for actor in actors().values() if actor["ActorClassName"] == f"ServeReplica:default:{name}"]
    return [actor["Pid"] for actor in found if actor["State"] == "ALIVE"]


def resident_mib(pid: int) -> int:
    """Memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def test_the_bytes_of_the_bare_generator(url: str, tiny_pipeline: str) -> None:
    assert httpx2.get(f"{url}/readyz", timeout=60).status_code == 200
    client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
    made = client.images.generate(prompt="a dot", extra_body={"seeds": [1, 2], "exact": True}, response_format="url")
    sampling = Sampling(steps=2, guidance_scale=4.0, width=16, height=16, max_sequence_length=16)
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))
    (images,) = generator.generate([Group(prompt="a dot", seeds=(1, 2), sampling=sampling)])
    files = [httpx2.get(image.url or "", timeout=60).content for image in made.data or []]
    assert files == [marked(encode(image, "png")) for image in images]


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_goes_away_frees_the_worker(url: str, stream: bool) -> None:
    cancelled = 'raydiance_image_requests_total{model="pipeline",status="cancelled"}'
    before, begun = metric(url, cancelled), metric(url, "raydiance_queue_seconds_count")

    async def leave() -> None:
        body = {"prompt": "a dot", "steps": 1000, "n": 4, "stream": stream}
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS) as client:
            asked = asyncio.ensure_future(client.post("/v1/images/generations", json=body))
            await asyncio.to_thread(wait_until, lambda: metric(url, "raydiance_queue_seconds_count") > begun, 60)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(leave())
    wait_until(lambda: metric(url, "raydiance_requests_in_flight") == 0, 20)
    assert metric(url, cancelled) == before + 1
    wait_until(lambda: idle(pids("Worker")), 20)  # long before a thousand steps are done


def idle(processes: Sequence[int]) -> bool:
    """Did they compute for less than a tenth of a second?"""
    before = cpu_seconds(processes)
    time.sleep(1)
    return cpu_seconds(processes) - before < 0.1


def cpu_seconds(processes: Sequence[int]) -> float:
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in processes))


def test_overload_is_refused_early(url: str) -> None:
    """Four times as many callers as the endpoint holds requests, each asking again at once."""
    callers, latencies, statuses = 4 * (2 * 4 + 8), list[float](), Counter[int]()
    processes = pids("Worker") + pids("Web")
    before = list[int]()

    async def weigh(after_s: float) -> None:
        await asyncio.sleep(after_s)  # the first seconds fill pools and caches
        before.extend(resident_mib(pid) for pid in processes)

    async def call(client: Any, until: float) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            answer = await client.post("/v1/images/generations", json={"prompt": "a dot", "scores": False})
            latencies.append(time.monotonic() - began)
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["code"] == "overloaded"
                await asyncio.sleep(0.2)

    async def all_call() -> None:
        async with httpx2.AsyncClient(
            base_url=url, timeout=TIMEOUT_SECONDS, limits=httpx2.Limits(max_connections=callers)
        ) as client:
            until = time.monotonic() + OVERLOAD_SECONDS
            await asyncio.gather(weigh(OVERLOAD_SECONDS / 4), *(call(client, until) for _ in range(callers)))

    asyncio.run(all_call())
    assert set(statuses) == {200, 429}
    assert max(latencies) < TIMEOUT_SECONDS
    after = [resident_mib(pid) for pid in processes]
    growth = [late - early for early, late in zip(before, after, strict=True)]
    print(f"overload: {dict(statuses)}, slowest {max(latencies):.2f} s, memory grew by {growth} MiB")
    assert max(growth) < 32


def test_a_killed_copy_loses_its_own_requests_only(url: str) -> None:
    before = metric(url, "raydiance_queue_seconds_count")
    with ThreadPoolExecutor(8) as pool:
        requests = [pool.submit(post, url, steps=200, seed=i) for i in range(8)]
        # Each copy makes two groups at a time, so both are at work once three groups have begun.
        wait_until(lambda: metric(url, "raydiance_queue_seconds_count") >= before + 3, 60)
        os.kill(pids("Worker")[0], signal.SIGKILL)
        answers = [request.result() for request in requests]
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    assert statuses[503] <= 4
    lost = next(answer for answer in answers if answer.status_code == 503)
    assert lost.json()["error"]["code"] == "worker_lost"
    assert lost.headers["retry-after"] == "1"
    wait_until(lambda: len(pids("Worker")) == 2, 300)
    assert post(url).status_code == 200


def test_a_job_outlives_the_web_process(url: str) -> None:
    body, web = {"prompt": "a dot", "steps": 1000}, pids("Web")
    asked = httpx2.post(f"{url}/v1/images/generations", json=body, headers={"prefer": "respond-async"}, timeout=60)
    job = f"{url}/v1/jobs/{asked.json()['id']}"
    wait_until(lambda: httpx2.get(job, timeout=60).json()["progress"] > 0, 60)
    os.kill(web[0], signal.SIGKILL)
    wait_until(lambda: pids("Web") not in ([], web), 120)
    wait_until(lambda: httpx2.get(job, timeout=60).status_code == 200, 60)
    wait_until(lambda: httpx2.get(job, timeout=60).json()["completed_at"] is not None, 120)
    made = httpx2.get(f"{job}/result", timeout=60).json()
    assert made["group"]["steps"] == 1000


def test_jobs_and_urls_survive_a_redeploy(url: str, args: ServeArgs) -> None:
    from ray import serve

    kept = post(url, response_format="url").json()["data"][0]["url"]
    picture = httpx2.get(kept, timeout=60).content
    desk = pids("Desk")
    files: Any = {"image": ("a.png", picture), "prompt": (None, "a dot"), "steps": (None, "1000")}
    asked = httpx2.post(f"{url}/v1/images/edits", files=files, headers={"prefer": "respond-async"}, timeout=60)
    job = f"{url}/v1/jobs/{asked.json()['id']}"
    wait_until(lambda: httpx2.get(job, timeout=60).json()["progress"] > 0, 60)
    serve.run(app(args.model_copy(update={"max_jobs": 7})))
    wait_until(lambda: pids("Desk") not in ([], desk), 120)
    assert httpx2.get(kept, timeout=60).content == picture
    wait_until(lambda: httpx2.get(job, timeout=60).json()["completed_at"] is not None, 240)
    assert httpx2.get(f"{job}/result", timeout=60).json()["group"]["steps"] == 1000


def test_no_prompt_in_the_logs(url: str) -> None:
    import ray

    assert post(url, prompt="zyx wvu").status_code == 200
    assert post(url, prompt="zyx wvu " * 9).status_code == 400
    node: Any = ray._private.worker._global_node
    logs = Path(node.get_logs_dir_path())
    found = [file for file in logs.rglob("*") if file.is_file() and b"zyx" in file.read_bytes()]
    assert found == []
