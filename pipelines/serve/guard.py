"""The ASGI layer around the application: limits requests, and handles all errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from urllib.parse import quote

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serve.door import Door
from pipelines.serve.errors import ApiError, error_for, no_key, response
from pipelines.serve.keys import Keys
from pipelines.serve.rates import Rates
from pipelines.serve.repeats import Repeats
from pipelines.serve.uploads import Bodies

_log = logging.getLogger("ray.serve")

HEADERS = "raydiance.headers"
"""In a request's scope: further headers of its answer."""

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def path_of(scope: Scope) -> str:
    """The path of a request, without the prefix that a proxy gives the endpoint."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class Guard:
    """ASGI middleware.

    app: the application behind it.
    door: lets requests that make something in.
    keys: who announces a body needs one before it is read.
    rates: how much a caller may ask for.
    repeats: answers for requests that come again.
    bodies: what bodies of requests may take.
    larger: path -> the same there.
    loopback_only: answer only to loopback's own host names, so that a web page whose name resolves to 127.0.0.1 cannot
        call an endpoint without keys.
    log_errors: log tracebacks, which can have content of requests.
    by_key: counts answers, by names of keys and statuses.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        keys: Keys,
        rates: Rates,
        repeats: Repeats,
        bodies: Bodies,
        larger: Mapping[str, Bodies],
        loopback_only: bool,
        log_errors: bool,
        by_key: Counter,
    ) -> None:
        self._app, self._door, self._keys, self._rates, self._repeats = app, door, keys, rates, repeats
        self._bodies, self._larger = bodies, larger
        self._loopback_only, self._log_errors, self._by_key = loopback_only, log_errors, by_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, began = False, time.monotonic()
        more = scope[HEADERS] = dict[str, str]()

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._note(scope, message["status"])
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["OpenAI-Processing-Ms"] = str(round(1000 * (time.monotonic() - began)))
                headers.setdefault("Cache-Control", "no-store")
                headers.update(more)
            await send(message)

        try:
            self._check_host(Headers(scope=scope))
            with self._door.inside() if _makes(scope) else nullcontext():
                body = await self._body(scope, receive)
                owner = self._limited(scope, more)
                answer = partial(self._answer, body, scope, receive)
                await self._repeats.answer(scope, owner, body, answer, send_with_headers)
        except Exception as error:
            told = error_for(error, self._log_errors)
            if started:
                raise ConnectionAbortedError("the answer broke off") from None
            await response(told)(scope, receive, send_with_headers)

    def _note(self, scope: Scope, status: int) -> None:
        """Log and count, by the key's name, what a request that makes something is answered with."""
        authorization = Headers(scope=scope).get("authorization")
        if _makes(scope) and self._keys and self._keys.admit(authorization):
            name = self._keys.name(authorization)
            self._by_key.labels(name, str(status)).inc()
            _log.info("%s: %s %d", name, quote(scope["path"]), status)

    def _limited(self, scope: Scope, more: dict[str, str]) -> str:
        """Count a request that makes something, and return whose it is."""
        authorization = Headers(scope=scope).get("authorization")
        if not _makes(scope) or not self._keys.admit(authorization):
            return ""
        self._rates.take("requests", self._keys.name(authorization), 1, more)
        return self._keys.owner(authorization)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._loopback_only and name not in _LOOPBACK_NAMES:
            raise ApiError(403, "without API keys this endpoint answers to loopback's names only", code="wrong_host")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if announced == "0" and "transfer-encoding" not in headers:
            return b""
        if not self._keys.admit(headers.get("authorization")):
            raise no_key()
        limits = self._larger.get(path_of(scope), self._bodies)
        if announced.isdecimal() and int(announced) > limits.most_bytes:
            raise _too_large(limits.most_bytes)
        client = scope.get("client") or ("",)
        with limits.uploads.room(client[0]):
            try:
                async with asyncio.timeout(limits.seconds):
                    return await _read(receive, limits.most_bytes)
            except TimeoutError:
                # The connection waits for the rest of the body, and serves nothing else.
                raise ApiError(
                    408, f"the body did not come within {limits.seconds:g} s", code="timeout",
                    headers={"Connection": "close"},
                ) from None  # fmt: skip

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on a body that was read, and cancel it when the caller disconnects."""
        unread, gone = [body], asyncio.Event()

        async def receive_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        answer = asyncio.ensure_future(self._app(scope, receive_body, send))
        watch = asyncio.ensure_future(_disconnection(receive))
        try:
            await asyncio.wait((answer, watch), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
        finally:
            gone.set()
            answer.cancel()
            watch.cancel()
            await asyncio.gather(answer, watch, return_exceptions=True)


def _makes(scope: Scope) -> bool:
    """Whether a request asks for something to be made. What is made may be stopped at any time, and at no cost."""
    return scope["method"] == "POST" and not scope["path"].endswith("/cancel")


async def _read(receive: Receive, most: int) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the caller went away", code="disconnected")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"the body is larger than {most} bytes", code="body_too_large")


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
