"""Requests that end early: callers who go away, time that runs out, a model that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx2
import pytest
import ray
from ray.exceptions import RayError

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import Group, Sampling
from pipelines.dataset.failures import Failure
from pipelines.serve import callers
from pipelines.serve.jobs import Done, Event, Job, Started, Step
from pipelines.serve.requests import error_of
from pipelines.serve.settings import ServeArgs
from tests.support.served import Served, post, serving

LONG = 1000
"""Steps that take the tiny model seconds."""


def group(steps: int) -> Group:
    return Group(
        prompt="a dot",
        seeds=(1,),
        sampling=Sampling(steps=steps, guidance_scale=4.0, width=16, height=16, max_sequence_length=16),
        interventions=(ToraConfig(), RepulsionConfig(inner_steps=2)),
    )


@pytest.fixture
def steps(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The denoising steps that the worker has done, in order."""
    done_steps: list[int] = []
    real = served.worker._generator.draw

    def counted(groups: Any, on_step: Any, **more: Any) -> Any:
        def step(done: int, of: int) -> None:
            done_steps.append(done)
            on_step(done, of)

        return real(groups, step, **more)

    monkeypatch.setattr(served.worker._generator, "draw", counted)
    return done_steps


def test_closing_stops_the_denoising_within_one_step(served: Served, steps: list[int]) -> None:
    async def close_after_three() -> int:
        async with aclosing(served.worker.generate(Job(group=group(LONG), progress=True))) as events:
            async for event in events:
                if isinstance(event, Step) and event.done >= 3:
                    break
        at_closing = len(steps)
        last = [event async for event in served.worker.generate(Job(group=group(1), exact=True))][-1]
        assert isinstance(last, Done)
        return at_closing

    at_closing = asyncio.run(close_after_three())
    assert len(steps) - 1 <= at_closing + 1  # the last one counted belongs to the second job


async def left_unread(served: Served, job: Job) -> AsyncGenerator[Event, None]:
    """The events of a job whose caller has read one, and then neither reads nor closes: as a killed process."""
    events = served.worker.generate(job)
    await anext(events)
    async with asyncio.timeout(20):
        while served.worker._last_step is not None:  # it denoises
            await asyncio.sleep(0.01)
    return events


@pytest.mark.parametrize("progress", [False, True])
def test_a_job_whose_caller_has_died_stops(
    served: Served, steps: list[int], progress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_found", lambda name: name != "dead" or len(steps) < 3)
    monkeypatch.setattr("pipelines.serve.worker._LOOK_SECONDS", 0.01)
    asyncio.run(left_unread(served, Job(group=group(LONG), progress=progress, caller="dead")))
    assert 3 <= len(steps) < LONG / 2


def test_every_job_has_a_deadline_of_its_own(served: Served, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.worker, "_args", served.args.model_copy(update={"timeout_s": 0.3}))

    async def last() -> Event:
        events = await left_unread(served, Job(group=group(LONG), progress=True))
        return [event async for event in events][-1]

    failed = asyncio.run(last())
    assert isinstance(failed, Failure)
    error = error_of(failed)
    assert (error.status_code, error.code, error.detail) == (504, "timeout", "not done within 0.3 s; stopped")
    assert len(steps) < LONG / 2


def test_whom_ray_does_not_find_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: dict[str, Exception] = {"dead": ValueError("no such actor"), "unknown": RayError("no answer")}

    def get_actor(name: str, namespace: str) -> None:
        if name in raised:
            raise raised[name]

    monkeypatch.setattr(ray, "get_actor", get_actor)
    names = ["alive", "dead", "unknown", ""]
    assert [asyncio.run(callers.runs(name)) for name in names] == [True, False, True, True]


def cancelled(served: Served) -> float:
    lines = httpx2.get(f"{served.url}/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("raydiance_image_requests_total") and "cancelled" in line]
    return sum(float(line.split()[-1]) for line in counts)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_goes_away_frees_the_worker(served: Served, stream: bool, steps: list[int]) -> None:
    before = cancelled(served)
    body = {"prompt": "a dot", "steps": LONG, "n": 4, "stream": True}
    if stream:
        with httpx2.stream("POST", f"{served.url}/v1/images/generations", json=body, timeout=60) as response:
            assert "progress" in next(response.iter_lines())
    else:
        with pytest.raises(httpx2.ReadTimeout):
            post(served, prompt="a dot", steps=LONG, n=4, timeout=0.5)
    assert post(served).status_code == 200
    assert len(steps) < LONG / 2
    assert cancelled(served) == before + 1


def test_too_late(args: ServeArgs) -> None:
    with serving(args.model_copy(update={"queue_timeout_s": 0.5, "timeout_s": 2.0})) as served:
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(post, served, steps=LONG, n=4)
            time.sleep(0.3)
            waited = post(served, steps=1)
            assert waited.status_code == 429
            assert int(waited.headers["retry-after"]) >= 1
            assert long.result().status_code == 504
        assert post(served).status_code == 200


def test_a_worker_that_hangs_is_unhealthy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = served.worker
    asyncio.run(worker.check_health())
    monkeypatch.setattr(worker, "_last_step", time.monotonic() - served.args.timeout_s + 60)
    asyncio.run(worker.check_health())
    monkeypatch.setattr(worker, "_last_step", time.monotonic() - served.args.timeout_s - 1)
    with pytest.raises(RuntimeError, match="no denoising step for 300 s"):
        asyncio.run(worker.check_health())
    assert post(served).status_code == 200  # which sets the mark anew
    asyncio.run(worker.check_health())


def test_a_model_that_fails_fails_its_own_requests(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = served.worker._generator
    real = generator.draw

    def breaks(groups: Any, on_step: Any = None, **more: Any) -> Any:
        if any(group.prompt == "bad" for group in groups):
            raise RuntimeError("secret detail")
        return real(groups, on_step, **more)

    monkeypatch.setattr(generator, "draw", breaks)
    with ThreadPoolExecutor(2) as pool:
        bad, good = pool.submit(post, served, prompt="bad"), pool.submit(post, served, prompt="good")
    assert (bad.result().status_code, good.result().status_code) == (500, 200)
    assert "secret" not in bad.result().text


def test_a_failure_is_the_last_event(served: Served) -> None:
    async def events() -> list[Any]:
        too_long = Job(group=Group(prompt="x" * 60, seeds=(1,), sampling=group(1).sampling))
        return [event async for event in served.worker.generate(too_long)]

    started, failed = asyncio.run(events())
    assert isinstance(started, Started)
    assert isinstance(failed, Failure)
    assert failed.error_type == "PromptError"
