"""Published checkpoints: how each is meant to be sampled, and how large it is.

Sampling is from the model cards and the diffusers documentation of each: what a config leaves out of `[sampling]`
starts from it. Step-distilled checkpoints (Turbo, schnell, klein, distilled) want few steps and no classifier-free
guidance; at other settings they give poor pictures without an error. Sizes are from cards and config files, rounded,
for estimates without a model's files.

Importable without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_T5, _CLIP_L, _CLIP_G, _QWEN25_VL, _MISTRAL = 4.8e9, 0.12e9, 0.7e9, 8.3e9, 24e9
_AUTOENCODER = 0.1e9


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of weights; width: of the transformer's tokens."""

    transformer: float
    text_encoders: tuple[float, ...]
    width: int

    @property
    def parts(self) -> dict[str, int]:
        """Weights of each component, the autoencoder too."""
        encoders = {f"text_encoder_{number}": int(size) for number, size in enumerate(self.text_encoders, 1)}
        return {"transformer": int(self.transformer), **encoders, "vae": int(_AUTOENCODER)}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """sampling: fields of `models.spec.Sampling`; size: None where nobody has noted it here."""

    sampling: Mapping[str, Any]
    size: Size | None = None


def _of(steps: int, guidance_scale: float, size: Size | None = None, /, **others: Any) -> Checkpoint:
    return Checkpoint(sampling={"steps": steps, "guidance_scale": guidance_scale, **others}, size=size)


_SD3_TEXT = (_CLIP_L, _CLIP_G, _T5)
_SD3_MEDIUM = Size(transformer=2.0e9, text_encoders=_SD3_TEXT, width=1536)
_SD35_MEDIUM = Size(transformer=2.5e9, text_encoders=_SD3_TEXT, width=1536)
_SD35_LARGE = Size(transformer=8.1e9, text_encoders=_SD3_TEXT, width=2432)
_FLUX = Size(transformer=11.9e9, text_encoders=(_CLIP_L, _T5), width=3072)
_FLUX2 = Size(transformer=32e9, text_encoders=(_MISTRAL,), width=6144)
_QWEN = Size(transformer=20.4e9, text_encoders=(_QWEN25_VL,), width=3072)
_HD_VIDEO = {"width": 1280, "height": 720, "frames": 129}
_SMALL_VIDEO = {"width": 720, "height": 480, "frames": 49}

CHECKPOINTS: Mapping[str, Checkpoint] = {
    "stabilityai/stable-diffusion-3-medium-diffusers": _of(28, 7.0, _SD3_MEDIUM),
    "stabilityai/stable-diffusion-3.5-medium": _of(40, 4.5, _SD35_MEDIUM),
    "stabilityai/stable-diffusion-3.5-large": _of(28, 3.5, _SD35_LARGE),
    "stabilityai/stable-diffusion-3.5-large-turbo": _of(4, 0.0, _SD35_LARGE, max_sequence_length=512),
    "black-forest-labs/FLUX.1-dev": _of(28, 3.5, _FLUX, max_sequence_length=512),
    "black-forest-labs/FLUX.1-schnell": _of(4, 0.0, _FLUX),
    "black-forest-labs/FLUX.1-Kontext-dev": _of(28, 2.5, _FLUX, max_sequence_length=512),
    "black-forest-labs/FLUX.2-dev": _of(50, 4.0, _FLUX2, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-4B": _of(4, 1.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-9B": _of(4, 1.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-base-4B": _of(50, 4.0, max_sequence_length=512),
    "black-forest-labs/FLUX.2-klein-base-9B": _of(50, 4.0, max_sequence_length=512),
    "Qwen/Qwen-Image": _of(50, 4.0, _QWEN, max_sequence_length=512, negative_prompt=" "),
    "Qwen/Qwen-Image-Edit": _of(50, 4.0, _QWEN, max_sequence_length=512, negative_prompt=" "),
    "lodestones/Chroma1-HD": _of(40, 3.0, max_sequence_length=512),
    "THUDM/CogView4-6B": _of(50, 3.5, max_sequence_length=1024),
    "hunyuanvideo-community/HunyuanImage-2.1-Diffusers": _of(50, 3.5, width=2048, height=2048),
    "hunyuanvideo-community/HunyuanImage-2.1-Distilled-Diffusers": _of(8, 3.25, width=2048, height=2048),
    "hunyuanvideo-community/HunyuanVideo": _of(50, 6.0, None, **_HD_VIDEO),
    "THUDM/CogVideoX-2b": _of(50, 6.0, None, **_SMALL_VIDEO),
    "THUDM/CogVideoX-5b": _of(50, 6.0, None, **_SMALL_VIDEO),
}
"""Hub id -> what is known of it."""


def size_of(path: str) -> Size | None:
    """The size of the checkpoint with this hub id; None where it is not known."""
    known = CHECKPOINTS.get(path)
    return known.size if known else None
