"""Callers by the names of their keys: limits, metrics and logs, and requests that come again."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from starlette.types import Message, Send

from pipelines.errors import UserError
from pipelines.serve import keys
from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import Event, Job, Started, Step
from pipelines.serve.keys import Keys
from pipelines.serve.rates import Rates
from pipelines.serve.repeats import MOST_WAITING, Repeats
from tests.support.served import BrokenEngine, Served, listening, serving, tiny_args

ANN, BOB = "a-secret-of-ann-herself", "a-secret-of-bob-himself"
IMAGES = "/v1/images/generations"


@pytest.fixture(scope="module")
def served(tiny_pipeline: str, tiny_clip: str) -> Iterator[Served]:
    limits = {"requests_per_minute": 60, "images_per_minute": 8, "scoring": "off"}
    args = tiny_args(tiny_pipeline, tiny_clip).model_copy(update=limits)
    with serving(args, Keys(frozenset({ANN, BOB}), {ANN: "ann"})) as running:
        yield running


def post(served: Served, key: str, again: str = "", **body: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"} | ({"idempotency-key": again} if again else {})
    return httpx2.post(served.url + IMAGES, json={"prompt": "a red star", **body}, headers=headers, timeout=60)


def test_keys_have_names(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"ann: {ANN}  # she\n{BOB}\na:key-with-a-colon\n")
    known = keys.read(str(file), {"RAYDIANCE_API_KEYS": "eve: key-from-environment, another-key-of-eve-s"})
    names = [known.name(f"Bearer {key}") for key in (ANN, BOB, "a:key-with-a-colon", "key-from-environment")]
    assert (names[0], names[3]) == ("ann", "eve")
    for name, key in zip(names[1:3], (BOB, "a:key-with-a-colon"), strict=True):
        assert re.fullmatch("key-[0-9a-f]{8}", name)
        assert known.admit(f"Bearer {key}")
    assert not known.admit("Bearer ann")
    assert ANN not in repr(vars(known))
    assert Keys().name(None) == ""
    file.write_text(f"no name: {ANN}")
    with pytest.raises(UserError, match="'no name' is no name of an API key"):
        keys.read(str(file), {})


def test_a_key_has_so_many_images_in_a_minute(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = OpenAI(base_url=f"{served.url}/v1", api_key=ANN, max_retries=0)
    raw = client.images.with_raw_response.generate(prompt="a red star", n=4)
    assert raw.headers["x-ratelimit-limit-requests"] == "60"
    assert raw.headers["x-ratelimit-limit-images"] == "8"
    assert raw.headers["x-ratelimit-remaining-images"] == "4"
    assert 20 < float(raw.headers["x-ratelimit-reset-images"].removesuffix("s")) <= 30
    client.images.generate(prompt="a red star", n=4)
    with pytest.raises(openai.RateLimitError, match="8 images in a minute") as raised:
        client.images.generate(prompt="a red star", n=4)
    assert raised.value.code == "rate_limit_exceeded"
    assert 20 <= int(raised.value.response.headers["retry-after"]) <= 30
    assert post(served, BOB).status_code == 200  # has limits of his own
    metrics = httpx2.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {BOB}"}).text
    assert 'raydiance_requests_by_key_total{key="ann",status="429"} 1.0' in metrics
    assert 'raydiance_images_by_key_total{key="ann"} 8.0' in metrics
    assert f"ann: {IMAGES} 429" in caplog.text
    assert ANN not in caplog.text + metrics


def test_a_request_that_does_not_fit_takes_no_images(served: Served) -> None:
    before = post(served, BOB)
    assert post(served, BOB, seed=1, seeds=[2]).status_code == 400
    left = [int(one.headers["x-ratelimit-remaining-images"]) for one in (before, post(served, BOB))]
    assert left[1] >= left[0] - 1


def test_to_stop_a_job_takes_none_of_the_requests(served: Served) -> None:
    headers = {"authorization": f"Bearer {BOB}"}
    for path, counted in (("/v1/jobs/none/cancel", False), ("/v1/none", True)):
        answer = httpx2.post(served.url + path, headers=headers)
        assert answer.status_code == 404
        assert ("x-ratelimit-remaining-requests" in answer.headers) == counted


def test_a_path_is_one_line_of_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    headers = {"authorization": f"Bearer {ANN}"}
    assert httpx2.post(f"{served.url}/v1/x%0Abob: deleted", headers=headers).status_code == 404
    assert "ann: /v1/x%0Abob%3A%20deleted 404" in caplog.text


def test_room_comes_back_evenly() -> None:
    now, headers = [0.0], dict[str, str]()
    rates = Rates(requests=6, images=0, clock=lambda: now[0])
    for _ in range(6):
        rates.take("requests", "ann", 1, headers)
    with pytest.raises(ApiError, match="free again in 10 s"):
        rates.take("requests", "ann", 1, headers)
    rates.take("requests", "bob", 1, headers)
    rates.take("images", "ann", 1000, {})
    now[0] = 10.0
    rates.take("requests", "ann", 1, headers)
    assert headers["x-ratelimit-remaining-requests"] == "0"
    now[0] = 1000.0
    rates.take("requests", "ann", 1, headers)
    assert headers["x-ratelimit-remaining-requests"] == "5"


def test_a_request_that_comes_again_is_made_once(served: Served) -> None:
    first = post(served, BOB, "one", seed=1)
    again = post(served, BOB, "one", seed=1)
    assert first.status_code == 200
    assert again.content == first.content  # with its times, which would differ
    other = post(served, BOB, "one", seed=2)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert post(served, BOB, "two", seed=1).content != first.content
    assert post(served, BOB, "x" * 300).status_code == 400


def test_two_that_come_at_once_are_made_once(served: Served) -> None:
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(post, served, BOB, "three", steps=30, stream=True) for _ in range(2)]
    first, second = (one.result() for one in asked)
    assert first.text == second.text
    assert "image_generation.completed" in first.text


def test_a_request_that_failed_can_come_again(served: Served) -> None:
    too_long = {"prompt": "x" * 60}
    assert [post(served, BOB, "four", **too_long).status_code for _ in range(2)] == [400, 400]


def test_a_stream_that_failed_can_come_again(tiny_pipeline: str, tiny_clip: str) -> None:
    asked: list[Job] = []

    class Breaking(BrokenEngine):
        async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
            asked.append(job)
            async for event in super().generate(job):
                yield event

    engine = Breaking((Started(), Step(done=1, of=2)))
    body, again = {"prompt": "a red star", "stream": True}, {"idempotency-key": "one"}
    with listening(tiny_args(tiny_pipeline, tiny_clip), engine, Keys()) as url:
        told = [httpx2.post(url + IMAGES, json=body, headers=again).text for _ in range(2)]
    assert all("event: error" in text for text in told)
    assert len(asked) == 2


def test_few_wait_for_one_answer() -> None:
    async def all_of_it() -> None:
        repeats, made = Repeats(max_bytes=10_000, seconds=60), list[str]()
        asked = [ask(repeats, "a", 1, made=made) for _ in range(MOST_WAITING + 2)]
        came = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in came if isinstance(one, ApiError)]
        assert [(one.status_code, one.code) for one in refused] == [(429, "overloaded")]
        assert came.count(1) == MOST_WAITING + 1
        assert await ask(repeats, "a", 1, made=made) == 1
        assert made == ["a"]

    asyncio.run(all_of_it())


async def ask(repeats: Repeats, name: str, size: int, *, caller: str = "", made: list[str], fails: bool = False) -> int:
    """Ask for an answer of a size, and return the size that came."""
    came: list[Message] = []

    async def send(message: Message) -> None:
        came.append(message)

    async def answer(send: Send) -> None:
        made.append(name)
        await asyncio.sleep(0.01)
        if fails:
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * size})

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"idempotency-key", name.encode())]}
    await repeats.answer(scope, caller, b"", answer, send)
    return len(came[1]["body"])


def test_answers_are_kept_in_bounds() -> None:
    now, made = [0.0], list[str]()

    async def all_of_it() -> None:
        repeats = Repeats(max_bytes=10_000, seconds=60, clock=lambda: now[0])
        for name in ("a", "b", "a", "c", "c", "a"):  # the last one after a was forgotten for c
            assert await ask(repeats, name, 4000, made=made) == 4000
        assert made == ["a", "b", "c", "a"]
        await ask(repeats, "a", 1, caller="another", made=made)
        assert made[-2:] == ["a", "a"]
        now[0] = 61
        await ask(repeats, "c", 1, made=made)
        assert len(repeats._kept) == 1

    asyncio.run(all_of_it())


def test_who_waits_for_an_answer_that_fails_makes_it() -> None:
    made: list[str] = []

    async def both() -> list[Any]:
        repeats = Repeats(max_bytes=10_000, seconds=60)
        asked = [ask(repeats, "a", 1, made=made, fails=True), ask(repeats, "a", 1, made=made)]
        return await asyncio.gather(*asked, return_exceptions=True)

    failed, came = asyncio.run(both())
    assert isinstance(failed, RuntimeError)
    assert came == 1
    assert made == ["a", "a"]
