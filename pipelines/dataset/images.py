"""Encodes pixels as image files, lossless ones for datasets, and decodes them; videos are another module."""

from __future__ import annotations

import hashlib
import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image_HWC: NDArray[np.uint8], image_format: Literal["png", "webp"]) -> bytes:
    """A lossless image file; equal pixels give equal bytes.

    image_HWC: uint8 [H, W, 3], RGB.
    image_format: of the file.
    """
    file = io.BytesIO()
    if image_format == "png":
        Image.fromarray(image_HWC).save(file, "PNG")
    else:
        Image.fromarray(image_HWC).save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


def encode_jpeg(image_HWC: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file, which holds the pixels nearly: for callers who look at images, never for datasets.

    image_HWC: uint8 [H, W, 3], RGB.
    quality: from 0, the smallest file, to 100, the nearest pixels.
    """
    file = io.BytesIO()
    # Pillow takes 0 for its default. Colours are whole: a rare one is often a small part of a picture.
    Image.fromarray(image_HWC).save(file, "JPEG", quality=max(1, quality), subsampling="4:4:4")
    return file.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 [H, W, 3], RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def image_id(image: NDArray[np.uint8]) -> str:
    """A hash of size and pixels, 32 hex digits.

    image: uint8 [H, W, 3], or of a video [T, H, W, 3].
    """
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def blank(images: NDArray[np.uint8]) -> list[int]:
    """Indices of images of a single colour, which NaN latents and broken decoders give.

    images: uint8 [B, H, W, 3], or of videos [B, T, H, W, 3].
    """
    flat_BPC = images.reshape(len(images), -1, images.shape[-1])
    return [int(i) for i in np.flatnonzero((flat_BPC == flat_BPC[:, :1]).all(axis=(1, 2)))]
