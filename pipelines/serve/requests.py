"""Turns a request into a job, and the made group into a response."""

from __future__ import annotations

import base64
import math
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import BaseModel

from models.interventions.registry import entry_of, in_order, registered
from models.pictures import size_of
from models.seeds import image_seed
from models.spec import Group, InterventionConfig, Sampling
from pipelines.dataset.failures import Failure
from pipelines.prompts import rows as prompt_rows
from pipelines.prompts.rows import FailedPrompt
from pipelines.serve import loras
from pipelines.serve.errors import ApiError
from pipelines.serve.jobs import PICTURE, TOO_LATE, Done, Job, Scores
from pipelines.serve.response_schema import GroupReport, Image, ImageResponse
from pipelines.serve.schema import ImageRequest
from pipelines.serve.serving import Serving
from pipelines.serve.settings import ServeArgs

_RANDOM_SEEDS = 2**31
_IMAGE_SCORES = ("clip_score", "clip_margin", "nearest_similarity", "temporal_consistency")
_GROUP_SCORES = ("clip_model", "clip_margin_missing", "clip_tokens_cut", "group_vendi", "group_pair_similarity")


def _count_of(request: ImageRequest) -> int:
    """How many images a request asks for."""
    return len(request.seeds) if request.seeds and "n" not in request.model_fields_set else int(_given_or(request.n, 1))


def job_of(request: ImageRequest, args: ServeArgs, serving: Serving) -> tuple[Job, int | None]:
    """The job of a request, and the seed of its image seeds (None where the image seeds were given).

    request: the body.
    args: the settings.
    serving: the model and its defaults.

    Raises:
        ApiError: when values do not fit together, or the model makes something else (400).
    """
    clip = request.clip(serving)
    if (clip is not None) != serving.makes_videos:
        made, at = ("videos", "/v1/videos") if serving.makes_videos else ("images", "/v1/images/generations")
        raise ApiError(400, f"{serving.name} makes {made}: ask for them at {at}", param="model", code="wrong_model")
    prompt_id, prompt = _cleaned(request.prompt, "prompt", args)
    counterfactual = None if request.counterfactual is None else request.counterfactual.strip() or None
    if counterfactual is not None:
        _, counterfactual = _cleaned(counterfactual, "counterfactual", args)
    image_format, quality = _file(request)
    count = _count_of(request)
    seed, seeds = _seeds(request, prompt_id, count)
    group = Group(
        prompt=prompt,
        seeds=seeds,
        sampling=_sampling(request, serving),
        pictures=request.pictures,
        mask=request.mask_file,
        interventions=_interventions(request, args, serving),
        loras=loras.acting(request, serving),
    )
    job = Job(
        group=group,
        counterfactual=counterfactual,
        scores=_given_or(request.scores, True),
        exact=_given_or(request.exact, False),
        previews=_previews(request),
        progress=_given_or(request.stream, False),
        image_format=image_format,
        jpeg_quality=quality,
        clip=clip,
        warnings=loras.warnings(group, serving, request.model_fields_set),
        names_strength="denoising_strength" in request.model_fields_set,
        timeout_s=args.timeout_s,
    )
    return job, seed


def response_of(
    job: Job, seed: int | None, done: Done, *, urls: Sequence[str] | None, queue_s: float, serving: Serving
) -> ImageResponse:
    """The response for a made group.

    job: the job.
    seed: as `job_of` gives it.
    done: the group.
    urls: where its files lie; None where the response holds them itself.
    queue_s: seconds that it waited.
    serving: the model and its defaults.
    """
    data = [
        Image(
            b64_json=base64.b64encode(file).decode() if urls is None else None,
            url=None if urls is None else urls[index],
            seed=job.group.seeds[index],
            image_id=done.image_ids[index],
            **_image_scores(done.scores, index),
        )
        for index, file in enumerate(done.images)
    ]
    sampling = job.group.sampling.settings(pictures=bool(job.group.pictures))
    width, height = sampling.pop("width"), sampling.pop("height")
    sampling["frames"] = done.frames
    settings: dict[str, Any] = {entry.name: None for entry in registered()}
    settings |= {entry_of(config).name: asdict(config) for config in job.group.interventions}
    group = GroupReport(
        model=serving.name,  # not the path: callers need not know folders of the server
        model_revision=done.info.revision,
        family=done.info.family,
        dtype=done.info.dtype,
        scheduler=done.info.scheduler,
        prompt=job.group.prompt,
        seed=seed,
        seeds=list(job.group.seeds),
        size=f"{width}x{height}",
        **sampling,
        fps=done.fps,
        loras=[
            {"name": lora.name, "scale": lora.scale}
            for lora in (serving.model.loras if job.group.loras is None else job.group.loras)
        ],
        warnings=list(job.warnings),
        **settings,
        tokens_cut=dict(done.tokens_cut),
        negative_tokens_cut=dict(done.negative_tokens_cut),
        **({} if done.scores is None else {name: getattr(done.scores, name) for name in _GROUP_SCORES}),
        groups_in_batch=done.groups_in_batch,
        queue_seconds=round(queue_s, 4),
        generate_seconds=round(done.generate_s, 4),
    )
    return ImageResponse(created=int(time.time()), data=data, output_format=job.ending, size=group.size, group=group)


def _image_scores(scores: Scores | None, index: int) -> dict[str, Any]:
    columns = {} if scores is None else {name: getattr(scores, name) for name in _IMAGE_SCORES}
    return {name: values[index] for name, values in columns.items() if values is not None}


def error_of(failed: Failure) -> ApiError:
    """The response for a group that failed. A ValueError means that its settings were at fault."""
    if failed.error_type == TOO_LATE:
        return ApiError(504, failed.error, code="timeout")
    message, param = _in_own_fields(failed.error)
    if failed.error_type == "PromptError":
        negative = message.startswith("the negative prompt")
        return ApiError(400, message, param="negative_prompt" if negative else "prompt", code="prompt_too_long")
    if failed.error_type == PICTURE:
        return ApiError(400, message, param="image", code="invalid_picture")
    if failed.error_type in ("ImageError", "BlankImage"):
        return ApiError(422, f"no image with these settings: {message}", code="no_image")
    if failed.error_type in ("ValueError", "ModelError"):
        return ApiError(400, message, param=param, code="invalid_value")
    return ApiError(500, "the model failed on this request", code=failed.error_type)


def _in_own_fields(message: str) -> tuple[str, str | None]:
    """A message about keys of a run's file in words of the request's fields, and the field that it begins with."""
    message = re.sub(r"\bsampling\.(width|height)\b", r"size: \1", message)
    message = re.sub(r"\bsampling\.(?=\w)", "", message)
    first = re.match(r"\w+", message)
    return message, first[0] if first and first[0] in ImageRequest.model_fields else None


def _cleaned(text: str, param: str, args: ServeArgs) -> tuple[str, str]:
    row = prompt_rows.single(text, args.max_prompt_characters)
    if isinstance(row, FailedPrompt):
        error = row.failure.error.replace("the prompt", f"the {param}")
        raise ApiError(400, error, param=param, code="invalid_prompt")
    return row.prompt_id, row.prompt


def _file(request: ImageRequest) -> tuple[Literal["png", "webp", "jpeg"], int]:
    """Format and quality of the image files."""
    image_format, quality = request.output_format or "png", _given_or(request.output_compression, 100)
    if image_format != "jpeg" and quality != 100:
        message = "only jpeg has levels of quality, and png and webp are lossless here: leave output_compression out"
        raise ApiError(400, message, param="output_compression", code="invalid_value")
    return image_format, quality


def _previews(request: ImageRequest) -> int:
    wanted = _given_or(request.partial_images, 0)
    if wanted and not request.stream:
        raise ApiError(
            400, "partial_images are events: set stream, or leave it out", param="partial_images", code="invalid_value"
        )
    return int(wanted)


def _seeds(request: ImageRequest, prompt_id: str, count: int) -> tuple[int | None, tuple[int, ...]]:
    if request.seeds is None:
        seed = secrets.randbelow(_RANDOM_SEEDS) if request.seed is None else request.seed
        return seed, tuple(image_seed(seed, prompt_id, index) for index in range(count))
    if request.seed is not None:
        raise ApiError(400, "give seed or seeds, not both", param="seeds", code="invalid_value")
    if len(request.seeds) != count:
        raise ApiError(400, f"{len(request.seeds)} seeds for {count} images", param="seeds", code="invalid_value")
    return None, tuple(request.seeds)


def _sampling(request: ImageRequest, serving: Serving) -> Sampling:
    size = _nearest_size(request, serving) if request.size in (None, "auto") else request.size
    assert size is not None
    width, height = _sides(size)
    given = {name: getattr(request, name) for name in request.sampling_fields}
    given["steps"] = request.num_inference_steps
    if "steps" in request.model_fields_set and request.steps is not None:
        if request.num_inference_steps is not None:
            raise ApiError(
                400, "give steps or num_inference_steps, not both", param="num_inference_steps", code="invalid_value"
            )
        given["steps"] = request.steps
    if "sigmas" in request.model_fields_set and request.sigmas is not None:
        given["sigmas"] = tuple(request.sigmas)
        given["steps"] = given["steps"] or len(request.sigmas) or None
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(serving.sampling, width=width, height=height, **changes)
    except ValueError as error:  # only noise levels depend on each other and on another field
        raise ApiError(400, str(error), param="sigmas", code="invalid_value") from None


def _nearest_size(request: ImageRequest, serving: Serving) -> str:
    """Of the sizes that may be asked for the one whose shape is most like that of the picture to edit; without a
    picture, and of equals, the first."""
    if not request.pictures:
        return serving.sizes[0]
    width, height = size_of(request.pictures[0])

    def unlike(size: str) -> float:
        ours = _sides(size)
        return abs(math.log(ours[0] * height / (ours[1] * width)))

    return min(serving.sizes, key=unlike)


def _sides(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(width), int(height)


def _interventions(request: ImageRequest, args: ServeArgs, serving: Serving) -> tuple[InterventionConfig, ...]:
    """The interventions of a request: with the app's settings for `true`, else with the request's."""
    found = []
    for entry in registered():
        asked = getattr(request, entry.name)
        try:
            if isinstance(asked, BaseModel):
                found.append(entry.config(**asked.model_dump()))
            elif asked:
                found.append(serving.interventions[entry.name])
        except ValueError as error:
            raise ApiError(400, str(error), param=entry.name, code="invalid_value") from None
        if entry.work and asked and getattr(found[-1], entry.work) > args.max_inner_steps:
            limit = f"at most {args.max_inner_steps} {entry.work.replace('_', ' ')}"
            raise ApiError(400, limit, param=f"{entry.name}.{entry.work}", code="invalid_value")
    return in_order(found)


def _given_or(value: Any, default: Any) -> Any:
    return default if value is None else value
