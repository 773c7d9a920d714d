"""The desk of an endpoint: it answers jobs as the web process answers requests, with more patience."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from pydantic import TypeAdapter, ValidationError

from pipelines.serve.bodies import bodies, either
from pipelines.serve.deferred import Deferred, Kind
from pipelines.serve.desk import DeskHere, Keep
from pipelines.serve.edit_schema import EditRequest
from pipelines.serve.errors import invalid
from pipelines.serve.events import PartialImages
from pipelines.serve.folders import open_folder
from pipelines.serve.images_api import ImagesApi
from pipelines.serve.jobs import Step
from pipelines.serve.response_schema import ImageResponse
from pipelines.serve.schema import ImageRequest, fields_of
from pipelines.serve.several import Models
from pipelines.serve.video_schema import VideoRequest

_BODIES: dict[Kind, type[ImageRequest]] = {"image": ImageRequest, "edit": EditRequest, "video": VideoRequest}
_DIGITS = {"seed_text", "seed_texts"}
"""Fields of reports that are made of others."""


def _read(reader: TypeAdapter[ImageRequest], job: Deferred) -> ImageRequest:
    """The body of a job. One that an earlier process has left may not fit the settings of this one."""
    try:
        return reader.validate_json(job.request)
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise invalid(problems, partial(fields_of, _BODIES[job.kind])) from None


class ImagesDesk(DeskHere):
    """The desk, in this process.

    models: those that are served.

    Raises:
        UserError: when `state_dir` cannot be a folder.
    """

    def __init__(self, models: Models) -> None:
        args, patient = models.args, models.patient()
        api = ImagesApi(patient)
        readers = {kind: TypeAdapter(either(patient, bodies(patient, of))) for kind, of in _BODIES.items()}

        async def answer(job: Deferred, keep: Keep) -> AsyncGenerator[Step | ImageResponse, None]:
            # Its steps are the job's progress; what images look like by then nobody sees.
            seen = {"stream": True, "partial_images": None}
            request = _read(readers[job.kind], job).model_copy(update=seen)
            async with aclosing(api.events(request, keep)) as events:
                async for event in events:
                    if isinstance(event, ImageResponse):
                        job.about["group"] = event.group.model_dump(mode="json", exclude=_DIGITS)
                    if not isinstance(event, PartialImages):
                        yield event

        super().__init__(
            answer,
            open_folder(args.state_dir),
            max_jobs=args.max_jobs,
            # One for each copy of a model: between two of them others have their turn.
            at_once={model.name: model.args.most_replicas for model in models},
            max_bytes=args.url_cache_mb << 20,
            seconds=args.url_minutes * 60,
            log_errors=args.log_prompts,
        )
