"""The MM-DiT families that the project runs. A new family is one file with its facts and one line here."""

from __future__ import annotations

from models.errors import ModelError
from models.families import (
    aura_flow,
    bria,
    chroma,
    cogvideox,
    cogview4,
    flux,
    flux2,
    hunyuan_image,
    hunyuan_video,
    hunyuan_video_15,
    krea2,
    longcat_image,
    mochi,
    ovis_image,
    qwen_image,
    sd3,
)
from models.families.base import Family
from models.families.refused import reason

FAMILIES: tuple[Family, ...] = (
    sd3.FAMILY,
    flux.FAMILY,
    flux.KONTEXT,
    flux2.DEV,
    flux2.KLEIN,
    qwen_image.FAMILY,
    qwen_image.EDIT,
    qwen_image.EDIT_PLUS,
    chroma.FAMILY,
    cogview4.FAMILY,
    hunyuan_image.FAMILY,
    longcat_image.FAMILY,
    ovis_image.FAMILY,
    aura_flow.FAMILY,
    bria.FAMILY,
    krea2.FAMILY,
    hunyuan_video.FAMILY,
    hunyuan_video_15.FAMILY,
    mochi.FAMILY,
    cogvideox.FAMILY,
)


def family_of(pipeline: object) -> Family:
    """The family of a loaded diffusers pipeline.

    Raises:
        ModelError: the pipeline's class belongs to no family.
    """
    return family_named(type(pipeline).__name__)


def family_named(name: str) -> Family:
    """The family of a class of diffusers pipelines.

    Raises:
        ModelError: the class belongs to no family.
    """
    for family in FAMILIES:
        if name in family.pipelines:
            return family
    known = ", ".join(p for family in FAMILIES for p in family.pipelines)
    raise ModelError(f"{name} is not supported: {_instead(name) or reason(name)}. Supported: {known}")


def _instead(name: str) -> str:
    """How a pipeline that begins from a picture is run; "" where it is no such pipeline of a family."""
    for family in FAMILIES:
        if name in [begun.pipeline for begun in (family.from_picture, family.from_mask) if begun is not None]:
            return f"load the same weights as {family.pipelines[0]}, and give prompts a picture"
    return ""
