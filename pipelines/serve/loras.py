"""The LoRAs of the served model: a request names those that act, or one of them in place of the model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache

from models.spec import Group, Lora
from pipelines.config.borrowed import borrowed
from pipelines.config.recommended import settings_of
from pipelines.serve.errors import ApiError
from pipelines.serve.schema import ImageRequest
from pipelines.serve.serving import Serving

_settings_of = cache(settings_of)
"""Requests do not read the files beside the model and its LoRAs again."""


def acting(request: ImageRequest, serving: Serving) -> tuple[Lora, ...] | None:
    """The LoRAs that act in a request, each at its scale there; None for all of the model's.

    Raises:
        ApiError: when one is named that there is not (400).
    """
    known = _known(serving)
    if request.loras is None:
        return (known[request.model],) if request.model in known else None
    if request.model in known:
        raise ApiError(400, "name a LoRA as the model or here, not both", param="loras", code="invalid_value")
    names = [asked.name for asked in request.loras]
    if not {*names} <= {*known} or len({*names}) < len(names):
        rule = f"needs names of LoRAs, each once (there: {', '.join(known) or 'none'})"
        raise ApiError(400, f"loras = {names} {rule}", param="loras", code="invalid_value")
    return tuple(
        known[asked.name] if asked.scale is None else replace(known[asked.name], scale=asked.scale)
        for asked in request.loras
    )


def warnings(group: Group, serving: Serving, said: Collection[str]) -> tuple[str, ...]:
    """A sentence where a group is without a LoRA, but has the settings that are recommended with it.

    group: what a request asks for.
    serving: the model and its defaults.
    said: fields of the request.
    """
    if group.loras is None:
        return ()
    said = {"steps" if name == "num_inference_steps" else name for name in said}
    found = borrowed(serving.model, group.loras, group.sampling, group.interventions, said, _settings_of)
    return () if found is None else (found.of_request(),)


def _known(serving: Serving) -> dict[str, Lora]:
    return {lora.name: lora for lora in serving.model.loras}
