"""What of a job depends on facts of the model, which only a worker knows: the frames of a video."""

from __future__ import annotations

from dataclasses import replace

from models.errors import ModelError
from models.info import ModelInfo
from pipelines.serve.jobs import Clip, Job


def fitted(job: Job, info: ModelInfo) -> Job:
    """A job as a model makes it.

    info: the model.

    Raises:
        ModelError: when the model cannot make it.
    """
    if job.clip is None:
        return job
    frames = _frames(job.clip, job.group.sampling.frames, info)
    return replace(job, group=replace(job.group, sampling=replace(job.group.sampling, frames=frames)))


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
