"""Callers who announce bodies and do not send them hold up nobody but themselves."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest

from pipelines.serve.app import _web_options
from pipelines.serve.errors import ApiError
from pipelines.serve.keys import Keys
from pipelines.serve.repeats import MOST_WAITING
from pipelines.serve.settings import ServeArgs
from pipelines.serve.uploads import Uploads
from tests.support.served import BrokenEngine, listening

KEY = "a-secret-of-some-length"
ARGS = ServeArgs(max_uploads=6, max_uploads_per_client=4, body_timeout_s=1.0, max_body_kb=1)
PATH = "/v1/images/generations"


@contextmanager
def announced(url: str, *headers: str, path: str = PATH, first: str = "{") -> Iterator[socket.socket]:
    """A connection that announces a body and has sent one byte of it."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        lines = [f"POST {path} HTTP/1.1", f"Host: {at.netloc}", "Content-Type: application/json", *headers]
        connection.sendall("\r\n".join([*lines, "", first]).encode())
        yield connection


def status(connection: socket.socket) -> int:
    return int(connection.recv(65536).split()[1])


def test_bodies_that_do_not_come_fill_their_senders_room_alone() -> None:
    with listening(ARGS, BrokenEngine(), Keys()) as url, ExitStack() as stack:
        began = time.monotonic()
        held = [stack.enter_context(announced(url, "Content-Length: 99")) for _ in range(3)]
        chunked = announced(url, "Transfer-Encoding: chunked", path="/healthz", first="1\r\n{\r\n")
        held.append(stack.enter_context(chunked))
        time.sleep(0.2)
        more = [stack.enter_context(announced(url, "Content-Length: 99")) for _ in range(20)]
        assert [status(connection) for connection in more] == [429] * 20
        for path in ("/healthz", "/metrics", "/v1/models"):
            assert httpx2.get(url + path).status_code == 200
        assert time.monotonic() - began < ARGS.body_timeout_s
        for connection in held:
            answer = connection.makefile("rb").read().lower()  # until it is closed
            assert answer.startswith(b"http/1.1 408")
            assert b"connection: close" in answer
        assert httpx2.post(url + PATH, json={"prompt": ""}).status_code == 400  # there is room again


def test_a_key_is_asked_for_before_the_body() -> None:
    args = ARGS.model_copy(update={"body_timeout_s": 60.0})
    with listening(args, BrokenEngine(), Keys(frozenset({KEY}))) as url, ExitStack() as stack:
        for headers in ((), ("Authorization: Bearer wrong",)):
            for path in (PATH, "/healthz", "/nowhere"):
                asked = stack.enter_context(announced(url, "Content-Length: 99", *headers, path=path))
                assert status(asked) == 401
        large = stack.enter_context(announced(url, "Content-Length: 1025", f"Authorization: Bearer {KEY}"))
        assert status(large) == 413
        assert (
            httpx2.post(url + PATH, json={"prompt": ""}, headers={"authorization": f"Bearer {KEY}"}).status_code == 400
        )


def test_room_is_counted_by_client_and_in_all() -> None:
    uploads = Uploads(most=3, most_of_one=2)
    with ExitStack() as stack:
        for client in ("a", "a", "b"):
            stack.enter_context(uploads.room(client))
        for client in ("a", "b", "c"):
            with pytest.raises(ApiError, match="bodies have not come"), uploads.room(client):
                pass
    with uploads.room("c"):
        pass
    assert not uploads._of


def test_what_is_answered_at_once_has_room_beside_all_that_waits() -> None:
    args = ServeArgs(
        max_queue=5000, replicas=2, max_replicas=8, groups_per_batch=16, max_uploads=700, max_picture_uploads=1
    )
    assert _web_options(args)["max_ongoing_requests"] - 5000 - 8 * 2 * 16 - 701 - MOST_WAITING >= 1000
