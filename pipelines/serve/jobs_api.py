"""Routes of asynchronous jobs. A request with `Prefer: respond-async` (RFC 7240) is answered with a job at once; its
answer is fetched when it is done."""

# No postponed annotations: FastAPI reads them.

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pipelines.serve.caller_jobs import CallerJobs, Listed, Page
from pipelines.serve.deferred import Deferred, Status
from pipelines.serve.refusals import ASKING, refusals
from pipelines.serve.response_schema import ErrorBody, ImageResponse

Prefer = Annotated[
    str | None,
    Header(description="`respond-async`: the answer is a job (202), whose images are fetched when they are made."),
]


class JobView(BaseModel):
    """A job, as its caller sees it; times are seconds since 1970."""

    id: str
    object: Literal["job"] = "job"
    status: Status
    progress: int
    """Per cent of the denoising steps, 100 when it is completed."""
    model: str
    prompt: str
    created_at: int
    deadline: int
    """When it is stopped, done or not."""
    completed_at: int | None
    """When it was completed, failed or cancelled."""
    expires_at: int | None
    """When it is forgotten, with its images."""
    error: ErrorBody | None


class JobList(Listed):
    data: list[JobView]


class Deleted(BaseModel):
    id: str
    object: Literal["job.deleted"] = "job.deleted"
    deleted: Literal[True] = True


def routes(jobs: CallerJobs, dependencies: Sequence[Any]) -> APIRouter:
    """The routes under /v1/jobs.

    jobs: behind them.
    dependencies: of all routes.
    """
    router = APIRouter(prefix="/v1/jobs", dependencies=[*dependencies])

    @router.get("", responses=refusals(400, *ASKING), summary="Your jobs")
    async def every(request: Request, page: Annotated[Page, Query()]) -> JobList:
        found, has_more = await jobs.page(request, None, page)
        return JobList(data=[view(job) for job in found], has_more=has_more)

    @router.get("/{job_id}", responses=refusals(*ASKING), summary="How far a job is")
    async def one(request: Request, job_id: str) -> JobView:
        return view(await jobs.find(request, job_id))

    @router.get(
        "/{job_id}/result",
        responses=refusals(*ASKING, 400, 409, 422, 500, 504) | {200: {"model": ImageResponse}},
        response_class=Response,
        summary="What the request would have been answered with, once the job is done",
    )
    async def result(request: Request, job_id: str) -> Response:
        data = await jobs.result(await jobs.find(request, job_id))
        return Response(data, media_type="application/json")

    @router.post("/{job_id}/cancel", responses=refusals(*ASKING), summary="Stop a job within a denoising step")
    async def cancel(request: Request, job_id: str) -> JobView:
        return view(await jobs.cancel(request, job_id))

    @router.delete("/{job_id}", responses=refusals(*ASKING), summary="Stop a job and remove its images")
    async def delete(request: Request, job_id: str) -> Deleted:
        await jobs.forget(request, job_id)
        return Deleted(id=job_id)

    return router


def view(job: Deferred) -> JobView:
    """What its caller sees of a job."""
    return JobView(
        id=job.id,
        status=job.status,
        progress=job.progress,
        model=job.model,
        prompt=job.about["prompt"],
        deadline=int(job.deadline),
        **job.times,
        error=job.error,
    )


def accepted(job: Deferred, base: str) -> JSONResponse:
    """The answer to a request that has become a job.

    base: as of `CallerJobs.base`.
    """
    headers = {"Location": f"{base}/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
    return JSONResponse(view(job).model_dump(), 202, headers=headers)


def wants_job(prefer: str | None) -> bool:
    """Whether a request asks for a job. prefer: its header of that name."""
    return any(part.strip().lower() == "respond-async" for part in (prefer or "").replace(";", ",").split(","))
