"""The statuses of refusals, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pipelines.serve.response_schema import ErrorResponse

REFUSALS = {
    400: "The request does not fit",
    401: "No valid API key",
    403: "Not by this name",
    404: "No such model, job or file",
    408: "The body did not come in time",
    409: "Not done, or cancelled",
    413: "The body is too large",
    422: "No image with these settings, or the Idempotency-Key of another request",
    429: "Too busy, or the key's limit is reached: Retry-After says when to come again",
    500: "Something went wrong here",
    503: "The worker with this request was lost, or none is ready",
    504: "Not done in time",
}
MAKING = tuple(status for status in REFUSALS if status != 409)
"""Those of a request for images."""

ASKING = (401, 403, 404, 503)
"""Those of a request for a job."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that refuses with these statuses."""
    return {status: {"model": ErrorResponse, "description": REFUSALS[status]} for status in statuses}
