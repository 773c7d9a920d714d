"""A request whose answer is fetched later: a job of the API. Workers get a `pipelines.serve.jobs.Job` of it."""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel, Field

from pipelines.serve.response_schema import ErrorBody

Kind = Literal["image", "edit", "video"]
"""What a job makes; a caller finds videos as /v1/videos too."""
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class Deferred(BaseModel):
    """A job as the desk keeps it, in memory and as a JSON file."""

    id: str
    owner: str
    """Who may see it: `pipelines.serve.keys.Keys.owner` of its caller."""
    kind: Kind
    model: str
    """Name of the model that makes it."""
    request: str
    """The body as JSON, with its seeds; empty once it is done."""
    files_at: str
    """What the URLs of its files begin with."""
    about: dict[str, Any] = Field(default_factory=dict)
    """What its caller is told of the request while the answer is not there."""
    created_at: float
    """Seconds since 1970, as all times."""
    deadline: float
    """When it is stopped, done or not."""
    status: Status = "queued"
    step: int = 0
    """Denoising steps that are done."""
    steps: int = 0
    """Those in all; 0 before the first."""
    losses: int = 0
    """Workers that were lost with it."""
    completed_at: float | None = None
    """When it was completed, failed or cancelled."""
    expires_at: float | None = None
    """When it is forgotten."""
    error: ErrorBody | None = None
    """What a request that failed is answered with, and its status."""
    error_status: int = 500
    result: str = ""
    """Name of the file with the answer, as JSON."""
    files: list[str] = Field(default_factory=list)
    """Names of the other files that were made for it."""

    @property
    def is_over(self) -> bool:
        return self.completed_at is not None

    @property
    def times(self) -> dict[str, Any]:
        """Those that its caller is told."""
        found = {name: getattr(self, name) for name in ("created_at", "completed_at", "expires_at")}
        return {name: None if at is None else int(at) for name, at in found.items()}

    @property
    def progress(self) -> int:
        """Per cent, 100 only when it is completed: after the last step come decoding, scores and files."""
        if self.status == "completed":
            return 100
        return min(99, 100 * self.step // self.steps) if self.steps else 0


def deferred(
    kind: Kind, model: str, request: BaseModel, *, owner: str, files_at: str, about: dict[str, Any], seconds: float
) -> Deferred:
    """A new job.

    kind, model: as of `Deferred`.
    request: the body, with its seeds.
    owner, files_at, about: as of `Deferred`.
    seconds: until it is stopped.
    """
    now = time.time()
    return Deferred(
        id=f"{kind}_{secrets.token_urlsafe(24)}",
        owner=owner,
        kind=kind,
        model=model,
        request=request.model_dump_json(exclude_unset=True),
        files_at=files_at,
        about=about,
        created_at=now,
        deadline=now + seconds,
    )
