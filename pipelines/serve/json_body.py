"""Reads the JSON object in the body of a request, and says what is wrong with a body that is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from pipelines.serve.errors import ApiError

_JSON = re.compile(r"application/([^/]+\+)?json")
_EXAMPLE = 'a JSON object such as {"prompt": "a red star"}'
_SHOWN = 20
"""Characters before the fault that a message shows."""


class JsonRoute(APIRoute):
    """A route whose requests have a JSON object as their body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook for what happens before its own reading of the body."""
        answer = super().get_route_handler()

        async def read(request: Request) -> Response:
            # Here: what is raised where FastAPI calls it loses its message.
            return await answer(_Read(request, await request.body(), await self.read_object(request)))

        return read

    async def read_object(self, request: Request) -> dict[str, Any]:
        """The object in the body of a request.

        Raises:
            ApiError: when there is none.
        """
        return json_object(await request.body(), request.headers)


class _Read(Request):
    """A request whose object has been read: for FastAPI it has come as JSON."""

    def __init__(self, request: Request, body: bytes, found: dict[str, Any]) -> None:
        others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
        super().__init__(
            {**request.scope, "headers": [*others, (b"content-type", b"application/json")]}, request.receive
        )
        self._body, self._found = body, found

    async def json(self) -> dict[str, Any]:
        return self._found


def json_object(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object in a body.

    body: its bytes.
    headers: of the request, with names in lower case.

    Raises:
        ApiError: when the headers announce something else, or the body is no JSON object.
    """
    _check_headers(headers)
    if not body.strip():
        raise _wrong(f"the body is empty; send {_EXAMPLE}")
    encoding = json.detect_encoding(body)
    try:
        value = json.loads(body.decode(encoding), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise _wrong(
            f"the body is not {encoding.upper().removesuffix('-SIG')}, from byte {error.start} on "
            f"(0x{body[error.start]:02x}); JSON is sent in UTF-8, whatever Content-Type says"
        ) from None
    except json.JSONDecodeError as error:
        raise _wrong(_where(error)) from None
    except RecursionError:
        raise _wrong("the body is nested too deeply") from None
    except ValueError as error:  # Python's limit for the digits of an integer
        raise _wrong(f"the body has a number that is too long: {error}") from None
    if not isinstance(value, dict):
        raise _wrong(f"the body is {_KINDS[type(value)]}; send {_EXAMPLE}")
    return value


_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _check_headers(headers: Mapping[str, str]) -> None:
    sent = headers.get("content-type", "")
    if not _JSON.fullmatch(sent.partition(";")[0].strip().lower()):
        found = f"is {sent!r}" if sent else "is missing"
        raise _wrong(
            f"the header Content-Type {found}; send Content-Type: application/json with {_EXAMPLE} "
            "(curl: -H 'Content-Type: application/json')"
        )
    coding = headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise _wrong(f"the header Content-Encoding is {coding!r}; send the body as it is, without compression")


def _where(error: json.JSONDecodeError) -> str:
    """What the parser found, in which line and column, and after which characters."""
    what = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
    before = error.doc[max(0, error.pos - _SHOWN) : error.pos]
    after = f", after {before!r}" if before.strip() else ""
    end = "; the body ends there" if error.pos >= len(error.doc.rstrip()) else ""
    return f"the body is no JSON: {what} in line {error.lineno}, column {error.colno}{after}{end}"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key stands twice: JSON does not say which of them would count."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _wrong(f"the body has the key {key!r} twice", param=key)
        found[key] = value
    return found


def _wrong(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_json")
