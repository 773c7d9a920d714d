"""What of a job depends on facts of the model, which only a worker knows: the frames of a video, pictures to edit."""

from __future__ import annotations

from dataclasses import replace

from models.errors import ModelError, PromptError
from models.info import ModelInfo
from models.interventions.registry import entry_of
from models.pictures import check, decoded, decoded_mask
from pipelines.dataset.failures import Failure
from pipelines.serve.abilities import refused
from pipelines.serve.jobs import PICTURE, Clip, Job
from pipelines.serve.masks import white_where_transparent


def fitted(job: Job, info: ModelInfo) -> Job | Failure:
    """A job as a model makes it, or why it cannot.

    info: the model.
    """
    group = job.group
    try:
        check(group.pictures, group.mask, info.pictures, masks=info.masks, owner=info.family)
        sizes = [decoded(picture).size for picture in group.pictures]  # here their pixels are found to be broken
        if group.mask is not None:
            mask = white_where_transparent(group.mask)
            decoded_mask(mask, sizes[0])
            group = replace(group, mask=mask)
    except PromptError as error:
        return Failure(error_type=PICTURE, error=str(error))
    try:
        _check_fields(job, info)
        if job.clip is not None:
            frames = _frames(job.clip, group.sampling.frames, info)
            group = replace(group, sampling=replace(group.sampling, frames=frames))
    except ModelError as error:
        return Failure(error_type="ModelError", error=str(error))
    return replace(job, group=group)


def _check_fields(job: Job, info: ModelInfo) -> None:
    """Raise ModelError where a field of the job's request is one that no request to the model can have."""
    group = job.group
    given = {
        "denoising_strength": job.names_strength,
        "negative_prompt": bool(group.sampling.negative_prompt.strip()),
        "sigmas": bool(group.sampling.sigmas),
        "partial_images": bool(job.previews),
        **{entry_of(config).name: True for config in group.interventions},
    }
    for field, reason in refused(info).items():
        if given.get(field):
            raise ModelError(f"{field}: {reason}; leave it out")


def fps_of(job: Job, info: ModelInfo) -> int:
    """Frames per second of a job's files; 0 for pictures."""
    return 0 if job.clip is None else job.clip.fps or info.frames_per_second


def _frames(clip: Clip, otherwise: int, info: ModelInfo) -> int:
    """How many frames come nearest to the seconds: 1 more than a multiple of the family's step, and at least 2."""
    fps = clip.fps or info.frames_per_second
    if not info.frames_per_second:
        raise ModelError(f"{info.family} makes images: ask for them at /v1/images/generations")
    if clip.seconds is None:
        return otherwise
    steps = max(1, round((clip.seconds * fps - 1) / info.frame_step))
    return steps * info.frame_step + 1
