"""One toy pipeline per family: the real classes, random weights, two blocks of each kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.support.toys import (
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
    parts,
    qwen_image,
    sd3,
)

BUILDERS: dict[str, Callable[[Path], Any]] = {
    "sd3": sd3.sd3,
    "flux": flux.flux,
    "flux-kontext": flux.flux_kontext,
    "flux2": flux2.flux2,
    "flux2-klein": flux2.flux2_klein,
    "qwen-image": qwen_image.qwen_image,
    "qwen-image-edit": qwen_image.qwen_image_edit,
    "qwen-image-edit-plus": qwen_image.qwen_image_edit_plus,
    "chroma": chroma.chroma,
    "cogview4": cogview4.cogview4,
    "hunyuan-image": hunyuan_image.hunyuan_image,
    "longcat-image": longcat_image.longcat_image,
    "ovis-image": ovis_image.ovis_image,
    "aura-flow": aura_flow.aura_flow,
    "bria": bria.bria,
    "krea2": krea2.krea2,
    "hunyuan-video": hunyuan_video.hunyuan_video,
    "hunyuan-video-15": hunyuan_video_15.hunyuan_video_15,
    "mochi": mochi.mochi,
    "cogvideox": cogvideox.cogvideox,
}
"""Family name -> builder of its toy pipeline; a builder may write files of its own below the folder."""

DISTILLED: dict[str, Callable[[Path], Any]] = {
    "flux-schnell": flux.flux_schnell,
    "flux2-klein-distilled": partial(flux2.flux2_klein, distilled=True),
    "hunyuan-image-distilled": partial(hunyuan_image.hunyuan_image, distilled=True),
}
"""The checkpoints of some families that take few steps and no guidance."""

MASKED: dict[str, Callable[[Path], Any]] = {"sd3-masked": partial(sd3.sd3, channels=16)}
"""Toys that paint a part of a picture anew, where those of their family cannot."""


def save(name: str, folder: Path, *, attention_gain: float = 0.0) -> str:
    """Build a toy pipeline and save it; returns the folder that holds it.

    attention_gain: of queries and keys; 0 leaves them so small that attention looks at all tokens alike, and all text
    tokens of an image move alike.
    """
    torch.manual_seed(0)
    pipeline = (BUILDERS | DISTILLED | MASKED)[name](folder)
    parts.randomise(*(m for n, m in pipeline.components.items() if n.startswith(("transformer", "text_encoder"))))
    if attention_gain:
        parts.sharpen(pipeline.transformer, attention_gain)
    pipeline.save_pretrained(folder / "pipeline")
    return str(folder / "pipeline")
