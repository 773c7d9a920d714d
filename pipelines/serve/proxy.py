"""Errors of Ray Serve's own web server in the form of the API: it answers where the web process cannot.

`jobs/serve.py` has Ray load it. Elsewhere RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=pipelines.serve.proxy:middlewares
does, in the environment in which Ray is started on each node.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serve.errors import ApiError, response

VARIABLE, PLACE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "pipelines.serve.proxy:middlewares"
"""The environment variable in which Ray finds the place, and the place."""

_RAYS_OWN = "/-/"
_TOLD = {
    404: ("there is no endpoint here, or not yet", "not_ready", 503),
    408: ("not done in time", "timeout", 504),
    429: ("too many requests wait already", "overloaded", 429),
}
"""Status of Ray's answer -> what is said, its code, and its status: a path that Ray does not know is one of an endpoint
that is not there, as ours answers all paths."""


class ErrorsOfRay:
    """ASGI middleware.

    app: Ray Serve's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_RAYS_OWN):
            await self._app(scope, receive, send)
            return
        instead: ApiError | None = None

        async def send_in_shape(message: Message) -> None:
            nonlocal instead
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                if message["status"] >= 400 and "x-content-type-options" not in headers:  # the guard sets it always
                    instead = _error(message["status"])
                    return
            if instead is None:
                await send(message)
            elif not message.get("more_body", False):
                await response(instead)(scope, receive, send)

        await self._app(scope, receive, send_in_shape)


def _error(status: int) -> ApiError:
    lost = ("the web process does not answer; send it again", "web_lost", 503)
    message, code, told = _TOLD.get(status, lost)
    return ApiError(told, message, code=code, retry_after_s=None if told == 504 else 1)


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around its web server."""
    return [Middleware(ErrorsOfRay)]
