"""How published checkpoints are meant to be sampled: what a config leaves out of `[sampling]` starts from here.

From the model cards and the diffusers documentation of each. Step-distilled checkpoints (Turbo, schnell, klein,
distilled) want few steps and no classifier-free guidance; at other settings they give poor pictures without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _of(steps: int, guidance_scale: float, **others: Any) -> dict[str, Any]:
    return {"steps": steps, "guidance_scale": guidance_scale, **others}


_HD_VIDEO = {"width": 1280, "height": 720, "frames": 129}
_SMALL_VIDEO = {"width": 720, "height": 480, "frames": 49}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "stabilityai/stable-diffusion-3-medium-diffusers": _of(28, 7.0),
    "stabilityai/stable-diffusion-3.5-medium": _of(40, 4.5),
    "stabilityai/stable-diffusion-3.5-large": _of(28, 3.5),
    "stabilityai/stable-diffusion-3.5-large-turbo": _of(4, 0.0, max_sequence_length=512),
    "black-forest-labs/FLUX.1-dev": _of(28, 3.5, max_sequence_length=512),
    "black-forest-labs/FLUX.1-schnell": _of(4, 0.0),
    "black-forest-labs/FLUX.1-Kontext-dev": _of(28, 2.5, max_sequence_length=512),
    "black-forest-labs/FLUX.2-dev": _of(50, 4.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-4B": _of(4, 1.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-9B": _of(4, 1.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-base-4B": _of(50, 4.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-base-9B": _of(50, 4.0, max_sequence_length=512),
    "Qwen/Qwen-Image": _of(50, 4.0, max_sequence_length=512, negative_prompt=" "),
    "Qwen/Qwen-Image-Edit": _of(50, 4.0, max_sequence_length=512, negative_prompt=" "),
    "lodestones/Chroma1-HD": _of(40, 3.0, max_sequence_length=512),
    "THUDM/CogView4-6B": _of(50, 3.5, max_sequence_length=1024),
    "hunyuanvideo-community/HunyuanImage-2.1-Diffusers": _of(50, 3.5, width=2048, height=2048),
    "hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers": _of(8, 3.25, width=2048, height=2048),
    "hunyuanvideo-community/HunyuanVideo": _of(50, 6.0, **_HD_VIDEO),
    "THUDM/CogVideoX-2b": _of(50, 6.0, **_SMALL_VIDEO),
    "THUDM/CogVideoX-5b": _of(50, 6.0, **_SMALL_VIDEO),
}
"""Hub id -> fields of `models.spec.Sampling`."""
