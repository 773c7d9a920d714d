"""The web application: routes, keys and documents in front of any engine that makes groups."""

# No postponed annotations: FastAPI reads them, and the request's model is made at run time.

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from models.interventions.registry import registered
from pipelines.serve import errors, jobs_api, making, page, videos_api
from pipelines.serve.caller_jobs import CallerJobs
from pipelines.serve.cards import Cards
from pipelines.serve.desk import Desk
from pipelines.serve.door import Door
from pipelines.serve.edit_schema import EditRequest
from pipelines.serve.errors import ApiError
from pipelines.serve.guard import Guard, path_of
from pipelines.serve.head import Head
from pipelines.serve.images_api import ImagesApi
from pipelines.serve.keys import Keys
from pipelines.serve.rates import LIMITS, Rates
from pipelines.serve.refusals import refusals
from pipelines.serve.repeats import Repeats
from pipelines.serve.response_schema import ModelCard, ModelList
from pipelines.serve.schema import ImageRequest, fields_of
from pipelines.serve.several import Models
from pipelines.serve.shelf import media_type
from pipelines.serve.uploads import Bodies, Uploads
from pipelines.serve.video_schema import VideoRequest


def create_app(models: Models, desk: Desk, keys: Keys, door: Door) -> FastAPI:
    """The web application.

    models: those that are served.
    desk: keeps jobs and files.
    keys: the API keys.
    door: closed before it ends.
    """
    args, api = models.args, ImagesApi(models)
    rates = Rates(requests=args.requests_per_minute, images=args.images_per_minute)
    app = FastAPIOffline(
        title="Raydiance",
        description=_about(),
        version="1",
        redoc_url=None,
    )
    app.add_middleware(Head)
    app.add_middleware(
        Guard,
        door=door,
        keys=keys,
        rates=rates,
        repeats=Repeats(max_bytes=args.repeat_cache_mb << 20, seconds=args.repeat_minutes * 60),
        bodies=_bodies(args.max_body_kb << 10, args.body_timeout_s, args.max_uploads, args.max_uploads_per_client),
        larger={
            making.EDITS: _bodies(
                args.max_pictures_mb << 20,
                args.pictures_timeout_s,
                args.max_picture_uploads,
                args.max_picture_uploads_per_client,
            )
        },
        loopback_only=not keys and not args.allow_anonymous,
        log_errors=args.log_prompts,
        by_key=api.metrics.requests_by_key,
    )
    if args.cors_origins:  # outermost: a page of another origin can read errors too, those of Guard among them
        app.add_middleware(
            CORSMiddleware,
            allow_origins=args.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id", "Location", *LIMITS],
        )
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    jobs, check = CallerJobs(args, desk, keys, rates, api.metrics), _key_check(keys)
    guarded = [Depends(check)]
    app.include_router(making.routes(api, jobs, models, guarded))
    app.include_router(videos_api.routes(jobs, models, guarded))
    app.include_router(jobs_api.routes(jobs, guarded))
    _add_reading(app, api, jobs, Cards(models), check)
    _add_documents(app, models, door)
    app.openapi = partial(_document, app.openapi)  # type: ignore[method-assign] # FastAPI's hook for it
    return app


def _document(made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document, without the 422 that FastAPI puts beside every parameter: it is told as `_unreadable` does.

    made: FastAPI's own.
    """
    document = made()
    for operation in (each for path in document["paths"].values() for each in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def _bodies(most_bytes: int, seconds: float, uploads: int, of_one: int) -> Bodies:
    return Bodies(most_bytes=most_bytes, seconds=seconds, uploads=Uploads(most=uploads, most_of_one=of_one))


def _about() -> str:
    said = "; ".join(f"**{entry.heading}** {entry.purpose}" for entry in registered())
    return f"OpenAI's images API on MM-DiT diffusion models, with training-free interventions: {said}."


def _add_reading(app: FastAPI, api: ImagesApi, jobs: CallerJobs, cards: Cards, check: Callable[..., None]) -> None:
    guarded: dict[str, Any] = {"dependencies": [Depends(check)], "responses": refusals(401, 403)}

    @app.get("/v1/models", summary="The served models and their LoRAs, limits and defaults", **guarded)
    async def models() -> ModelList:
        return ModelList(data=await cards.all())

    @app.get("/v1/models/{name:path}", **guarded | {"responses": refusals(401, 403, 404)})
    async def one_model(name: str) -> ModelCard:
        known = {card.id: card for card in await cards.all()}
        if name not in known:
            raise ApiError(404, f"there is no such model; there is {', '.join(known)}", code="model_not_found")
        return known[name]

    @app.get(
        "/v1/images/files/{name}",
        response_class=Response,
        responses=refusals(403, 404, 503),
        summary="An image whose URL was asked for",
    )
    async def file(name: str) -> Response:
        return Response(await jobs.file(name), media_type=media_type(name))

    @app.get("/metrics", response_class=Response, summary="For Prometheus", **guarded)
    async def metrics() -> Response:
        return Response(api.metrics.text(await jobs.counts()), media_type=CONTENT_TYPE_LATEST)


def _add_documents(app: FastAPI, models: Models, door: Door) -> None:
    @app.get("/healthz", responses=refusals(403), summary="Does the web side answer?")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", responses=refusals(403, 503), summary="Is there a worker, or can one start?")
    async def ready() -> dict[str, str]:
        if door.closed or not any([await model.engine.ready() for model in models]):
            raise ApiError(503, "no worker is ready", code="not_ready", retry_after_s=5)
        return {"status": "ready"}

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page.html(), headers={"Content-Security-Policy": page.POLICY})


def _key_check(keys: Keys) -> Callable[..., None]:
    bearer = HTTPBearer(auto_error=False, description="One of the server's API keys, where it asks for them")

    def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if not keys.admit(request.headers.get("authorization")):
            raise errors.no_key()

    return check


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return errors.response(error)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    kinds: dict[str, type[ImageRequest]] = {making.EDITS: EditRequest, videos_api.PATH: VideoRequest}
    kind = kinds.get(path_of(request.scope), ImageRequest)
    return errors.response(errors.invalid(error.errors(), partial(fields_of, kind)))
