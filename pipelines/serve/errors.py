"""Errors in the form that OpenAI's clients expect, without traceback or content of the request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.errors import did_you_mean
from pipelines.prompts.values import printable
from pipelines.serve.response_schema import ErrorBody, ErrorResponse

_log = logging.getLogger("ray.serve")

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ALIKE = 0.6
"""Least likeness of a field that is not there to the one that a message suggests."""
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(HTTPException):
    """A response other than 200.

    status: HTTP status.
    message: the problem.
    param: the field at fault.
    code: short name of the problem.
    retry_after_s: seconds after which the request may succeed.
    headers: further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        retry = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, printable(message), headers={**retry, **(headers or {})})
        self.param, self.code = None if param is None else printable(param), code

    @classmethod
    def of(cls, status: int, told: ErrorBody) -> ApiError:
        """The error that was told before. status: as it had."""
        return cls(status, told.message, param=told.param, code=told.code)

    def told(self) -> ErrorBody:
        """What the response says of it."""
        kind = _TYPES.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        return ErrorBody(message=self.detail, type=kind, param=self.param, code=self.code)

    def body(self) -> dict[str, Any]:
        """The body of the response."""
        return ErrorResponse(error=self.told()).model_dump()


def response(error: HTTPException) -> JSONResponse:
    """The response for an error of this project or of the web framework."""
    if not isinstance(error, ApiError):
        error = ApiError(
            error.status_code, str(error.detail), code=_CODES.get(error.status_code), headers=error.headers
        )
    return JSONResponse(error.body(), error.status_code, headers=error.headers)


def error_for(error: Exception, log_traceback: bool) -> ApiError:
    """What a caller is told of an exception: itself where it is meant for callers, else that something went wrong.

    error: is logged where it is not told.
    log_traceback: log the traceback too, which can have content of the request.
    """
    if isinstance(error, ApiError):
        return error
    _log.error("%s in an answer", type(error).__name__, exc_info=error if log_traceback else None)
    return ApiError(500, "something went wrong here", code="internal_error")


def no_key() -> ApiError:
    """The error for a caller without a key, where keys are asked for."""
    return ApiError(
        401,
        "no valid API key in the header Authorization: Bearer ...",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid(problems: Sequence[Any], known: Callable[[str], Collection[str]]) -> ApiError:
    """The error for a request body that does not fit.

    problems: pydantic's errors.
    known: the fields that a body may have, by "", and those of an object in it, by its name.
    """
    named = [(_field(problem["loc"]), problem) for problem in problems]
    # What is wrong in an object is not told twice where a switch could stand in its place.
    objects = {field.rpartition(".")[0] for field, _ in named}
    named = [(field, _told(problem, field, known)) for field, problem in named if field not in objects or not field]
    message = "; ".join(f"{field}: {text}" if field else text for field, text in named[:5])
    return ApiError(400, message, param=named[0][0] or None, code="invalid_value")


def _told(problem: Mapping[str, Any], field: str, known: Callable[[str], Collection[str]]) -> str:
    if problem["type"] != "extra_forbidden":
        return str(problem["msg"])
    table, _, name = field.rpartition(".")
    return f"there is no such field{did_you_mean(name, known(table), _ALIKE)}"


def _field(location: Sequence[Any]) -> str:
    """The name of a field: ("body", "tora", "Tora", "sigma") -> "tora.sigma". Types in unions begin with a capital."""
    return ".".join(
        str(part) for part in location[1:] if not isinstance(part, str) or (part[:1].islower() and "[" not in part)
    ).removesuffix(".bool")
