"""How large published models are, for estimates without their files. From their cards and config files, rounded.

Importable without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


_SD3 = (_CLIP_L, _CLIP_G, _T5)
_SD35_LARGE = Size(transformer=8.1e9, text_encoders=_SD3, width=2432)
_FLUX = Size(transformer=11.9e9, text_encoders=(_CLIP_L, _T5), width=3072)
_QWEN = Size(transformer=20.4e9, text_encoders=(_QWEN25_VL,), width=3072)

SIZES: Mapping[str, Size] = {
    "stabilityai/stable-diffusion-3-medium-diffusers": Size(transformer=2.0e9, text_encoders=_SD3, width=1536),
    "stabilityai/stable-diffusion-3.5-medium": Size(transformer=2.5e9, text_encoders=_SD3, width=1536),
    "stabilityai/stable-diffusion-3.5-large": _SD35_LARGE,
    "stabilityai/stable-diffusion-3.5-large-turbo": _SD35_LARGE,
    "black-forest-labs/FLUX.1-dev": _FLUX,
    "black-forest-labs/FLUX.1-schnell": _FLUX,
    "black-forest-labs/FLUX.1-Kontext-dev": _FLUX,
    "black-forest-labs/FLUX.2-dev": Size(transformer=32e9, text_encoders=(_MISTRAL,), width=6144),
    "Qwen/Qwen-Image": _QWEN,
    "Qwen/Qwen-Image-Edit": _QWEN,
}
"""Hub id -> size."""
