"""What a loaded model can do, and which fields of requests it therefore takes in none."""

from __future__ import annotations

from models.info import ModelInfo
from models.interventions.registry import registered
from pipelines.serve.response_schema import Abilities, Counts


def abilities(info: ModelInfo) -> Abilities:
    """What callers are told of a model.

    info: the model.
    """
    least, most = info.pictures
    return Abilities(
        family=info.family,
        size_multiple=info.size_multiple,
        pictures=Counts(least=least, most=most),
        refused=refused(info),
    )


def refused(info: ModelInfo) -> dict[str, str]:
    """The fields that no request to a model can have, each with the reason.

    info: the model.
    """
    family, sampler = info.family, info.scheduler
    reasons = {
        "image": "" if info.pictures[1] else f"{family} takes no input picture",
        "mask": "" if info.masks else f"{family} takes no mask here",
        "denoising_strength": "" if info.begins_from_pictures else f"{family} begins from no picture",
        "negative_prompt": "" if info.negative else f"{family} runs without a negative prompt",
        "sigmas": "" if info.sigmas else f"{family} takes no noise levels with {sampler}",
        "partial_images": "" if info.previews else "images of this model are not shown while they are made",
        **{entry.name: entry.refusal(info) for entry in registered()},
    }
    return {field: reason for field, reason in reasons.items() if reason}
