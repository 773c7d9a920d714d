"""Asynchronous jobs as the web process finds them for its callers: everybody has their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, Field, computed_field

from pipelines.serve.deferred import Deferred, Kind, deferred
from pipelines.serve.desk import Desk, Keep
from pipelines.serve.errors import ApiError
from pipelines.serve.guard import HEADERS
from pipelines.serve.jobs import Job
from pipelines.serve.keys import Keys
from pipelines.serve.metrics import Metrics
from pipelines.serve.rates import Rates
from pipelines.serve.schema import ImageRequest
from pipelines.serve.settings import ServeArgs


class Page(BaseModel):
    """Which of the jobs of a list, as in OpenAI's lists."""

    after: str | None = None
    """The job before them."""
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    """By the time at which they were made."""


class Listed(BaseModel):
    """A page of a list, as OpenAI's clients read it."""

    object: Literal["list"] = "list"
    data: Sequence[Any]
    has_more: bool

    @computed_field
    def first_id(self) -> str | None:
        """That of the first of them."""
        return self.data[0].id if self.data else None

    @computed_field
    def last_id(self) -> str | None:
        """That of the last one, for the next page's `after`."""
        return self.data[-1].id if self.data else None


class CallerJobs:
    """Jobs of callers.

    args: the settings.
    desk: has the jobs.
    keys: say whose a job is.
    rates: how much a caller may ask for.
    metrics: count what callers ask for.
    """

    def __init__(self, args: ServeArgs, desk: Desk, keys: Keys, rates: Rates, metrics: Metrics) -> None:
        self._args, self._desk, self._keys, self._rates, self._metrics = args, desk, keys, rates, metrics

    def count(self, request: Request, images: int) -> None:
        """Count images, or videos, that a caller asks for.

        Raises:
            ApiError: when there have been too many within a minute.
        """
        name = self._keys.name(request.headers.get("authorization"))
        self._rates.take("images", name, images, request.scope[HEADERS])
        if name:
            self._metrics.images_by_key.labels(name).inc(images)

    def base(self, request: Request) -> str:
        """What URLs in the answer to a request begin with."""
        return (self._args.public_url or str(request.base_url)).rstrip("/")

    async def begin(
        self, kind: Kind, model: str, request: Request, asked: ImageRequest, job: Job, seed: int | None, **about: Any
    ) -> Deferred:
        """Begin a job.

        kind, model: as of `Deferred`.
        request: with its caller.
        asked: its body.
        job, seed: as `requests.job_of` gives them for the body.
        about: what its caller is told of it, besides model and prompt.

        Raises:
            ApiError: when too many wait (429), or the body asks for a stream.
        """
        if job.progress:
            raise ApiError(400, "a job has no stream: ask for it again", param="stream", code="invalid_value")
        # So that it makes the same images wherever it begins anew.
        known = {"model": asked.model or model} | ({"seed": seed} if asked.seeds is None else {})
        asked = asked.model_copy(update=known)
        made = deferred(
            kind,
            model,
            asked,
            owner=self.owner(request),
            files_at=self._files_at(request),
            about={"prompt": job.group.prompt, **about},
            seconds=self._args.job_timeout_s,
        )
        if not await self._desk.submit(made):
            raise ApiError(429, "too many jobs wait already", code="overloaded", retry_after_s=10)
        return made

    def keep(self, request: Request) -> Keep:
        """Keeps files of the answer to a request."""

        async def keep(data: bytes, ending: str) -> str:
            return self._files_at(request) + await self._desk.keep(data, ending)

        return keep

    def owner(self, request: Request) -> str:
        """Whose jobs the caller of a request sees."""
        return self._keys.owner(request.headers.get("authorization"))

    async def find(self, request: Request, job_id: str, kind: Kind | None = None) -> Deferred:
        """A job of the caller of a request, of a kind where one is named.

        Raises:
            ApiError: when there is none (404).
        """
        job = await self._desk.find(self.owner(request), job_id)
        if job is None or kind not in (None, job.kind):
            raise _none(kind or "job")
        return job

    async def page(self, request: Request, kind: Kind | None, page: Page) -> tuple[list[Deferred], bool]:
        """Some jobs of the caller of a request, and whether there are more.

        kind: as of `Desk.all_of`.
        page: which of them.

        Raises:
            ApiError: when there is no job `after` (404), or callers cannot be told apart (403).
        """
        if not self._keys and self._args.allow_anonymous:
            message = "without API keys callers cannot be told apart, so jobs are found by their ids alone"
            raise ApiError(403, message, code="no_list")
        jobs = await self._desk.all_of(self.owner(request), kind)
        if page.order == "asc":
            jobs.reverse()
        if page.after is not None:
            at = next((index for index, job in enumerate(jobs) if job.id == page.after), None)
            if at is None:
                raise _none(kind or "job", param="after")
            jobs = jobs[at + 1 :]
        return jobs[: page.limit], len(jobs) > page.limit

    async def forget(self, request: Request, job_id: str) -> None:
        """Stop a job, and remove it with its files.

        Raises:
            ApiError: when the caller of the request has no such job (404).
        """
        if not await self._desk.forget(self.owner(request), job_id):
            raise _none("job")

    async def counts(self) -> dict[str, int]:
        """How many jobs there are, of all callers, by status; nothing where the desk is away."""
        try:
            return await self._desk.counts()
        except ApiError:
            return {}

    async def cancel(self, request: Request, job_id: str) -> Deferred:
        """Stop a job.

        Raises:
            ApiError: when the caller of the request has no such job (404).
        """
        job = await self._desk.cancel(self.owner(request), job_id)
        if job is None:
            raise _none("job")
        return job

    async def result(self, job: Deferred) -> bytes:
        """The response of a job as JSON.

        Raises:
            ApiError: what the request would have been answered with; 409 when it is not done.
        """
        if job.error is not None:
            raise ApiError.of(job.error_status, job.error)
        if job.status == "cancelled":
            raise ApiError(409, "it was cancelled", code="cancelled")
        if not job.is_over:
            raise ApiError(409, f"it is {job.status}: ask again", code="not_done", retry_after_s=2)
        return await self.file(job.result)

    async def file(self, name: str) -> bytes:
        """A file that was kept.

        Raises:
            ApiError: when there is none (404).
        """
        data = await self._desk.file(name)
        if data is None:
            raise ApiError(404, "there is no such file, or not any more", code="not_found")
        return data

    def _files_at(self, request: Request) -> str:
        return f"{self.base(request)}/v1/images/files/"


def _none(what: str, param: str | None = None) -> ApiError:
    return ApiError(404, f"there is no such {what}, or not any more", param=param, code="not_found")
