"""What a model can be asked for: settings that its pipeline would round, ignore or fail on are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import pictures
from models.errors import ModelError
from models.families.base import Family
from models.info import ModelInfo
from models.samplers import adds_noise
from models.spec import Group


def check(groups: Sequence[Group], pipe: Any, family: Family, info: ModelInfo) -> None:
    """Check that groups can be drawn in one batch.

    groups: one or more.
    pipe: a diffusers pipeline of the family.
    family: its family.
    info: what it is.

    Raises:
        ModelError: when the groups cannot share a batch, or have settings that the model does not support.
        PromptError: when a picture is missing, broken or not taken.
    """
    first = groups[0]
    if any(group.batch_key != first.batch_key for group in groups):
        raise ModelError(
            "groups that differ in size, sampling, interventions, LoRAs or how many pictures they have cannot "
            "share a denoising batch"
        )
    _check_settings(first, pipe, family, info)
    for group in groups:
        pictures.check(group.pictures, group.mask, info.pictures, info.masks, owner=family.name)


def _check_settings(group: Group, pipe: Any, family: Family, info: ModelInfo) -> None:
    sampling, multiple, step = group.sampling, family.size_multiple(pipe), family.frame_step
    for side in ("width", "height"):
        if (size := getattr(sampling, side)) % multiple:
            raise ModelError(f"sampling.{side} = {size}: {family.name} needs a multiple of {multiple} here")
    if (sampling.frames - 1) % step if step else sampling.frames > 1:
        rule = f"1 more than a multiple of {step}" if step else "1, as it makes images"
        raise ModelError(f"sampling.frames = {sampling.frames}: {family.name} needs {rule}")
    info.check_sigmas(sampling.sigmas)
    if family.beginning(group) is not None and not adds_noise(pipe.scheduler):
        raise ModelError(
            f"model.scheduler = {type(pipe.scheduler).__name__!r} cannot begin from a picture; these can: "
            "FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler"
        )
    if sampling.negative_prompt.strip() and not family.has_negative(pipe, sampling):
        raise ModelError(
            f"sampling.negative_prompt = {sampling.negative_prompt!r} has no effect: {family.name} runs without "
            "a negative branch here (distilled guidance, or guidance_scale of at most 1); leave it empty"
        )
