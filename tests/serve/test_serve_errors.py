"""Errors have the form that OpenAI's clients expect, whatever their status; pages of other origins can read them."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from openai import APIError, OpenAI

from pipelines.serve.jobs import Event, Job, Started, Step
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from tests.support.served import BrokenEngine, listening

ORIGIN = "https://example.org"
IMAGES = "/v1/images/generations"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    args = ServeArgs(cors_origins=(ORIGIN,), max_body_kb=1, body_timeout_s=0.2)
    with listening(args, BrokenEngine(), Keys()) as at:
        yield at


@pytest.mark.parametrize(
    ("status", "method", "path", "body"),
    [
        (400, "POST", IMAGES, {"prompt": ""}),
        (404, "GET", "/nowhere", None),
        (404, "GET", "/v1/models/none", None),
        (405, "GET", IMAGES, None),
        (413, "POST", IMAGES, {"prompt": "x" * 2000}),
        (500, "POST", IMAGES, {"prompt": "a red star"}),
        (500, "POST", IMAGES, {"prompt": "a red star", "stream": True}),
    ],
)
def test_every_error_has_openais_form_and_is_read_by_other_origins(
    url: str, status: int, method: str, path: str, body: Any
) -> None:
    answer = httpx2.request(method, url + path, json=body, headers={"origin": ORIGIN})
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text


def test_an_error_in_the_middle_of_a_stream_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    engine = BrokenEngine(events=(Started(), Step(done=1, of=2)))
    with listening(ServeArgs(), engine, Keys()) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        events = client.images.generate(prompt="a red star", stream=True)
        assert next(events).type == "image_generation.progress"  # type: ignore[comparison-overlap]
        with pytest.raises(APIError, match="something went wrong here") as raised:
            next(events)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["code"] == "internal_error"
    assert "RuntimeError in an answer" in caplog.text
    assert "secret" not in caplog.text


def test_a_worker_that_ends_without_an_answer_is_told() -> None:
    class Silent(BrokenEngine):
        async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
            yield Started()
            if job.progress:
                yield Step(done=1, of=2)

    with listening(ServeArgs(), Silent(), Keys()) as url:
        whole, streamed = (httpx2.post(url + IMAGES, json={"prompt": "a", "stream": on}) for on in (False, True))
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "worker_lost")
    assert streamed.text.count("event: ") == 2
    assert '"code": "worker_lost"' in streamed.text.split("event: error")[1]


def test_a_body_that_does_not_come_is_told_to_other_origins(url: str) -> None:
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        connection.sendall(
            f"POST {IMAGES} HTTP/1.1\r\nHost: {at.netloc}\r\nOrigin: {ORIGIN}\r\nContent-Length: 9\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert f"access-control-allow-origin: {ORIGIN}" in answer
    assert '"code":"timeout"' in answer


def test_other_origins_get_no_leave(url: str) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    assert httpx2.options(url + IMAGES, headers=asked).status_code == 200
    assert httpx2.options(url + IMAGES, headers=asked | {"origin": "https://else.example"}).status_code == 400
    plain = httpx2.get(url + "/v1/models", headers={"origin": "https://else.example"})
    assert "access-control-allow-origin" not in plain.headers
