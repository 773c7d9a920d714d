"""Requests that are sent again with their Idempotency-Key: they get the answer that there is, and nothing is made
twice."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from pipelines.serve.errors import ApiError

HEADER = "idempotency-key"
_LONGEST = 255
_MORE_BYTES = 1000
"""Of an answer, for what is kept beside its body."""
_FAILED = b"event: error\n"
"""What the last part of a stream begins with that ends without its images."""

MOST_WAITING = 32
"""Requests that wait for an answer that is being made. Their bodies are in memory."""

Answer = Callable[[Send], Awaitable[None]]
"""Answers a request: what is sent goes to the argument."""


@dataclass(eq=False)
class _Kept:
    request: bytes
    """Digest of the request."""
    until: float
    done: asyncio.Event = field(default_factory=asyncio.Event)
    messages: list[Message] = field(default_factory=list)
    """The answer; none where it failed, or has not come yet."""
    bytes: int = 0


class Repeats:
    """Answers of requests that have keys of their own, the oldest of which are forgotten first.

    max_bytes: most bytes of all answers.
    seconds: how long an answer is kept.
    clock: gives the time in seconds.
    """

    def __init__(self, *, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._waiting = 0

    async def answer(self, scope: Scope, caller: str, body: bytes, answer: Answer, send: Send) -> None:
        """Answer a request, with the answer of an equal one before it where there is one.

        scope: of the request.
        caller: whose it is: keys of callers do not meet.
        body: of the request.
        answer: makes an answer.
        send: gets it.

        Raises:
            ApiError: when the header does not fit, or came with another request before, or too many wait already.
        """
        headers = Headers(scope=scope)
        name = headers.get(HEADER, "")
        if scope["method"] != "POST" or not name:
            await answer(send)
            return
        if len(name) > _LONGEST or not name.isprintable():
            raise ApiError(400, f"Idempotency-Key takes up to {_LONGEST} printable characters", code="invalid_value")
        parts = [scope["path"].encode(), headers.get("prefer", "").encode(), _without_boundary(headers, body)]
        asked = hashlib.sha256(b"\0".join(parts)).digest()
        self._forget()
        while (kept := self._kept.get((caller, name))) is not None:
            if kept.request != asked:
                message = "this Idempotency-Key came with another request before: take a new one"
                raise ApiError(422, message, code="idempotency_key_reused")
            await self._wait(kept)
            if kept.messages:
                for message_kept in kept.messages:
                    await send(message_kept)
                return
        await self._first((caller, name), _Kept(asked, self._clock() + self._seconds), answer, send)

    async def _wait(self, kept: _Kept) -> None:
        if self._waiting >= MOST_WAITING and not kept.done.is_set():
            message = "too many requests wait already for answers that are being made"
            raise ApiError(429, message, code="overloaded", retry_after_s=1)
        self._waiting += 1
        try:
            await kept.done.wait()
        finally:
            self._waiting -= 1

    async def _first(self, key: tuple[str, str], kept: _Kept, answer: Answer, send: Send) -> None:
        self._kept[key] = kept
        messages: list[Message] = []

        async def send_and_keep(message: Message) -> None:
            messages.append({**message, "headers": list(message["headers"])} if "headers" in message else message)
            await send(message)

        try:
            await answer(send_and_keep)
        finally:
            if _succeeded(messages):
                kept.messages = messages
                kept.bytes = _MORE_BYTES + sum(len(message.get("body", b"")) for message in messages)
            else:  # it is tried again, by the next one who asks
                del self._kept[key]
            kept.done.set()
            self._forget()

    def _forget(self) -> None:
        now, held = self._clock(), sum(kept.bytes for kept in self._kept.values())
        for key, kept in list(self._kept.items()):
            if kept.until > now and held <= self._max_bytes:
                break
            if kept.done.is_set():
                held -= kept.bytes
                del self._kept[key]


def _succeeded(messages: Sequence[Message]) -> bool:
    """Whether an answer came to its end, and is what was asked for."""
    if not messages or messages[-1]["type"] != "http.response.body" or messages[-1].get("more_body", False):
        return False
    failed = any(message.get("body", b"").startswith(_FAILED) for message in messages)
    return 200 <= messages[0]["status"] < 300 and not failed


def _without_boundary(headers: Headers, body: bytes) -> bytes:
    """A body as it is each time: a form that is sent again has another boundary between its parts."""
    found = re.search(r'boundary="?([^";]+)', headers.get("content-type", ""))
    return body if found is None else body.replace(found[1].encode("latin-1"), b"")
