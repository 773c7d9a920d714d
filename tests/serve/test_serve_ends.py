"""An endpoint that ends: requests that have begun are answered, others are told so, and wrong settings are one line."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from jobs import serve
from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.serve.arguments import arguments
from pipelines.serve.door import Door
from pipelines.serve.jobs import Event, Job, Started
from pipelines.serve.keys import Keys
from pipelines.serve.launch import launch, require_free
from pipelines.serve.proxy import middlewares
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs
from tests.support.served import BrokenEngine, listening

IMAGES = "/v1/images/generations"


class Held(BrokenEngine):
    """An engine whose groups are done, with an error of their own, when the test says so."""

    begun, done = threading.Event(), threading.Event()

    async def generate(self, job: Job) -> AsyncGenerator[Event, None]:
        yield Started()
        self.begun.set()
        await asyncio.to_thread(self.done.wait)
        yield Failure(error_type="BlankImage", error="it was made")


@contextmanager
def held() -> Iterator[tuple[str, Door, ThreadPoolExecutor, Any]]:
    """An endpoint, its door, and a request that has begun."""
    Held.begun.clear()
    Held.done.clear()
    door = Door()
    with listening(ServeArgs(), Held(), Keys(), door) as url, ThreadPoolExecutor() as pool:
        try:
            asked = pool.submit(httpx2.post, url + IMAGES, json={"prompt": "a red star"}, timeout=30)
            assert Held.begun.wait(30)
            yield url, door, pool, asked
        finally:
            Held.done.set()


def test_a_request_that_has_begun_is_answered_and_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with held() as (url, door, pool, asked):
        closed = pool.submit(lambda: asyncio.run(until_closed(door, 30)))
        while not door.closed:
            pass
        refused = httpx2.post(url + IMAGES, json={"prompt": "a red star"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"] == "10"
        assert (httpx2.get(url + "/healthz").status_code, httpx2.get(url + "/readyz").status_code) == (200, 503)
        assert not closed.done()
        Held.done.set()
        assert "it was made" in asked.result().text
        assert closed.result() == 0


async def until_closed(door: Door, seconds: float) -> int:
    """`close`, from another loop than the server's."""
    left = await door.close(0)
    for _ in range(int(seconds * 100)):
        if not left:
            break
        await asyncio.sleep(0.01)
        left = await door.close(0)
    return left


def test_requests_that_take_too_long_are_counted() -> None:
    async def close() -> tuple[int, int]:
        door = Door()
        with door.inside(), door.inside():
            too_soon = await door.close(0.05)
        return too_soon, await door.close(0.05)

    async def last_one_opens() -> int:
        door = Door()

        async def answer() -> None:
            with door.inside():
                await asyncio.sleep(0.05)

        answering = asyncio.create_task(answer())
        await asyncio.sleep(0)
        left = await door.close(30)
        await answering
        return left

    assert asyncio.run(close()) == (2, 0)
    assert asyncio.run(last_one_opens()) == 0


def test_errors_of_rays_own_web_server_have_the_apis_form() -> None:
    def of_ray(status: int) -> Route:
        return Route(f"/{status}", lambda _: PlainTextResponse("Traceback: secret", status))

    def ours(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ours", 404, headers={"X-Content-Type-Options": "nosniff"})

    routes = [*map(of_ray, (200, 404, 408, 429, 500)), Route("/ours", ours), Route("/-/routes", of_ray(404).endpoint)]
    client = TestClient(Starlette(routes=routes, middleware=middlewares()))
    found = {status: client.get(f"/{status}") for status in (404, 408, 429, 500)}
    assert {status: answer.status_code for status, answer in found.items()} == {404: 503, 408: 504, 429: 429, 500: 503}
    for answer in found.values():
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "secret" not in answer.text
    passed = [client.get(path).text for path in ("/200", "/ours", "/-/routes")]
    assert passed == ["Traceback: secret", "ours", "Traceback: secret"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["max_m=4"], "there is no setting 'max_m'; did you mean 'max_n'?"),
        (["max_n"], "'max_n' is no setting: write KEY=VALUE"),
        (["max_n=0"], "max_n = '0': Input should be greater than or equal to 1"),
        (["replicas=2", "max_replicas=1"], "max_replicas = 1 is below replicas = 2"),
    ],
)
def test_settings_that_do_not_fit(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        arguments(words)
    assert str(raised.value).startswith(message)


def test_steps_for_which_the_config_has_no_noise_levels_are_named(tiny_pipeline: str, tmp_path: Path) -> None:
    config = tmp_path / "few.toml"
    config.write_text(
        f"""run.output = "out"
        prompts.path = "prompts.txt"
        model.path = "{tiny_pipeline}"
        scoring.model = "ViT-B-32"
        sampling = {{steps = 2, sigmas = [1.0, 0.5]}}"""
    )
    with pytest.raises(UserError, match=r"sigmas = .* as many noise levels as there are steps \(4\)"):
        resolve(arguments([f"config={config}", "steps=4"]))


def test_a_port_that_another_program_has_is_named_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError) as raised:
            launch(ServeArgs(), host="127.0.0.1", port=port, address="local")
    assert str(raised.value) == (
        f"--host 127.0.0.1 --port {port}: another program listens there; name another with --port, or --host"
    )
    require_free("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "named"), [("192.0.2.1", 8000, "--host 192.0.2.1"), ("::1", 70_000, "--port 70000")]
)
def test_places_where_nobody_can_listen_are_named_in_one_line(host: str, port: int, named: str) -> None:
    with pytest.raises(UserError, match=f"^{named}"):
        require_free(host, port)


def test_settings_of_a_command_line() -> None:
    assert arguments(["max_n=4", "sizes=8x8,16x16", "mark=false"]) == ServeArgs(
        max_n=4, sizes=("8x8", "16x16"), mark=False
    )


@pytest.mark.parametrize("wrong", [["scoring=gone"], ["--host", "0.0.0.0"], ["steps=200"]])
def test_what_is_wrong_at_the_start_is_one_line(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(wrong) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
