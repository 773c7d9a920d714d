"""Routes of /v1/videos: videos are jobs, in the form of OpenAI's API."""

# No postponed annotations: FastAPI reads them, and the request's model is made at run time.

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from pipelines.serve.bodies import bodies, either
from pipelines.serve.caller_jobs import CallerJobs, Page
from pipelines.serve.deferred import Deferred
from pipelines.serve.form_body import FormRoute, form_too
from pipelines.serve.refusals import ASKING, MAKING, refusals
from pipelines.serve.requests import job_of
from pipelines.serve.response_schema import GroupReport
from pipelines.serve.several import Models
from pipelines.serve.shelf import media_type
from pipelines.serve.video_schema import Video, VideoDeleted, VideoList, VideoRequest, told

PATH = "/v1/videos"


def routes(jobs: CallerJobs, models: Models, dependencies: Sequence[Any]) -> APIRouter:
    """The routes.

    jobs: behind them.
    models: those that are served.
    dependencies: of all routes.
    """
    each = bodies(models, VideoRequest)
    body = either(models, each)
    common: dict[str, Any] = {"prefix": PATH, "dependencies": [*dependencies]}
    router, with_body, all_routes = APIRouter(**common), APIRouter(route_class=FormRoute, **common), APIRouter()

    @with_body.post("", responses=refusals(*MAKING), openapi_extra=form_too(*each), summary="Begin a video")
    async def create(request: Request, asked: body) -> Video:  # type: ignore[valid-type] # made at run time
        model = models.of(asked.model)  # type: ignore[attr-defined]
        job, seed = job_of(asked, model.args, model.serving)
        jobs.count(request, len(job.group.seeds))
        sampling = job.group.sampling
        seconds = "" if job.clip is None or job.clip.seconds is None else f"{job.clip.seconds:g}"
        about = {"size": f"{sampling.width}x{sampling.height}", "seconds": seconds}
        return _view(await jobs.begin("video", model.name, request, asked, job, seed, **about))

    @router.get("", responses=refusals(400, *ASKING), summary="Your videos")
    async def every(request: Request, page: Annotated[Page, Query()]) -> VideoList:
        found, has_more = await jobs.page(request, "video", page)
        return VideoList(data=[_view(job) for job in found], has_more=has_more)

    @router.get("/{video_id}", responses=refusals(*ASKING), summary="How far a video is")
    async def one(request: Request, video_id: str) -> Video:
        return _view(await jobs.find(request, video_id, "video"))

    @router.get(
        "/{video_id}/content",
        response_class=Response,
        responses=refusals(*ASKING, 400, 409, 422, 500, 504),
        summary="The file of a video, once it is completed",
    )
    async def content(request: Request, video_id: str, variant: Literal["video"] = "video") -> Response:
        job = await jobs.find(request, video_id, "video")
        await jobs.result(job)  # or its error
        return Response(await jobs.file(job.files[0]), media_type=media_type(job.files[0]))

    @router.delete("/{video_id}", responses=refusals(*ASKING), summary="Stop a video and remove it")
    async def delete(request: Request, video_id: str) -> VideoDeleted:
        await jobs.find(request, video_id, "video")
        await jobs.forget(request, video_id)
        return VideoDeleted(id=video_id)

    all_routes.include_router(with_body)
    all_routes.include_router(router)
    return all_routes


def _view(job: Deferred) -> Video:
    group = job.about.get("group")
    return Video(
        id=job.id,
        model=job.model,
        status="failed" if job.status == "cancelled" else job.status,
        progress=job.progress,
        prompt=job.about["prompt"],
        size=job.about["size"],
        seconds=job.about["seconds"] if group is None else f"{group['frames'] / group['fps']:.4g}",
        **job.times,
        error=told(job.error, job.status == "cancelled"),
        group=None if group is None else GroupReport(**group),
    )
