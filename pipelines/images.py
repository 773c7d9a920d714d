"""Pixels to lossless image files and back."""

from __future__ import annotations

import hashlib
import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image_HWC: NDArray[np.uint8], image_format: Literal["png", "webp"]) -> bytes:
    """A lossless file of an RGB uint8 image; equal pixels give equal bytes."""
    file = io.BytesIO()
    if image_format == "png":
        Image.fromarray(image_HWC).save(file, "PNG")
    else:
        Image.fromarray(image_HWC).save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The uint8 [H, W, 3] pixels of an image file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def image_id(image_HWC: NDArray[np.uint8]) -> str:
    """32 hex digits over size and pixels."""
    digest = hashlib.blake2b(repr(image_HWC.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image_HWC).tobytes())
    return digest.hexdigest()


def blank(images_BHWC: NDArray[np.uint8]) -> list[int]:
    """Indices of images of one single colour, which is how NaN latents and broken decoders come out."""
    flat_BPC = images_BHWC.reshape(len(images_BHWC), -1, images_BHWC.shape[-1])
    return [int(i) for i in np.flatnonzero((flat_BPC == flat_BPC[:, :1]).all(axis=(1, 2)))]
