"""What a loaded model is and does, as others may know it."""

from __future__ import annotations

from typing import Any

from models.families.base import Family
from models.info import ModelInfo
from models.loading.adapters import Adapters
from models.samplers import does_flow_matching
from models.spec import ModelSpec


def describe(pipe: Any, family: Family, adapters: Adapters, spec: ModelSpec, *, device: str, ranks: int) -> ModelInfo:
    """The facts of a model.

    pipe: a diffusers pipeline.
    family: its family.
    adapters: its LoRAs.
    spec: what it was loaded from, with no "auto" in its dtype.
    device: where it runs.
    ranks: how many processes share its work.
    """
    flow_matching = does_flow_matching(pipe.scheduler)
    return ModelInfo(
        model=spec.path,
        revision=spec.revision,
        family=family.name,
        dtype=spec.dtype,
        scheduler=type(pipe.scheduler).__name__,
        device=device,
        frames_per_second=family.frames_per_second,
        frame_step=family.frame_step or 1,
        # Parts that are not on the device would come and go for each of them, and ranks have a part of the rows.
        previews=family.decode is not None and flow_matching and spec.offload == "none" and ranks == 1,
        pictures=family.takes,
        begins_from_pictures=family.from_picture is not None,
        masks=family.from_mask is not None and family.from_mask.possible(pipe),
        sigmas=family.takes_sigmas(pipe),
        negative=family.layout != "distilled",
        flow_matching=flow_matching,
        adapted=adapters.change_transformer(spec.loras),
        packed=hasattr(pipe, "_pack_latents"),
        size_multiple=family.size_multiple(pipe),
    )
