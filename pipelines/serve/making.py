"""Routes that make images: answered at once, as a stream of events, or as a job."""

# No postponed annotations: FastAPI reads them, and the request's models are made at run time.

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from pipelines.serve import jobs_api
from pipelines.serve.bodies import bodies, either
from pipelines.serve.caller_jobs import CallerJobs
from pipelines.serve.deferred import Kind
from pipelines.serve.edit_schema import EditRequest
from pipelines.serve.form_body import FormRoute, form_too
from pipelines.serve.images_api import ImagesApi
from pipelines.serve.json_body import JsonRoute
from pipelines.serve.refusals import MAKING, refusals
from pipelines.serve.requests import job_of
from pipelines.serve.response_schema import response_model
from pipelines.serve.schema import ImageRequest
from pipelines.serve.several import Models

EDITS = "/v1/images/edits"
"""Its bodies have pictures in them."""

_TEXT = {"type": "string"}
_EVENT = {"type": "object", "properties": {"event": _TEXT, "data": _TEXT}, "required": ["event", "data"]}
"""Of each event: its name, and JSON."""

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The group; events if asked for",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    202: {"description": "A job, if asked for", "model": jobs_api.JobView},
    **refusals(*MAKING),
}


def routes(api: ImagesApi, jobs: CallerJobs, models: Models, dependencies: Sequence[Any]) -> APIRouter:
    """The routes.

    api: answers.
    jobs: begins jobs.
    models: those that are served.
    dependencies: of all routes.
    """

    async def answer(kind: Kind, request: Request, asked: ImageRequest, prefer: str | None) -> Any:
        model = models.of(asked.model)
        job, seed = job_of(asked, model.args, model.serving)
        jobs.count(request, len(job.group.seeds))
        if jobs_api.wants_job(prefer):
            begun = await jobs.begin(kind, model.name, request, asked, job, seed)
            return jobs_api.accepted(begun, jobs.base(request))
        return await (api.stream if asked.stream else api.create)(asked, jobs.keep(request))

    shared: dict[str, Any] = {
        "response_model": response_model(),
        "dependencies": [*dependencies],
        "responses": _RESPONSES,
    }
    router, images = APIRouter(route_class=JsonRoute), either(models, bodies(models, ImageRequest))

    @router.post("/v1/images/generations", summary="Make a group of images", **shared)
    async def generate(request: Request, asked: images, prefer: jobs_api.Prefer = None) -> Any:  # type: ignore[valid-type]
        return await answer("image", request, asked, prefer)

    router_of_forms, each = APIRouter(route_class=FormRoute), bodies(models, EditRequest)
    edits = either(models, each)

    @router_of_forms.post(EDITS, summary="Make images of others", openapi_extra=form_too(*each), **shared)
    async def edit(request: Request, asked: edits, prefer: jobs_api.Prefer = None) -> Any:  # type: ignore[valid-type]
        return await answer("edit", request, asked, prefer)

    both = APIRouter()
    both.include_router(router)
    both.include_router(router_of_forms)
    return both
