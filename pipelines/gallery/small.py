"""Pictures and videos as small files inside of the page, as `data:` URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from models.pictures import decoded
from pipelines.dataset import mp4, videos

SIDE = 256
"""Longest side in pixels."""

PIXEL_ART_SIDE = 128
"""Pictures up to this side, in pixels, are enlarged without smoothing, and their thumbnails are lossless."""

MOST_FRAMES = 64
"""Most frames of a moving one; of longer videos every second, every third ... at so much lower a rate."""

MOST_MOVING_BYTES = 120_000
"""Most bytes of a moving one, for which more frames are left out: 16 for each of 4 arms then fit on a page."""

_MP4_CRF, _WEBP_QUALITY = 28, 70


@dataclass(frozen=True, kw_only=True)
class Small:
    """A picture, or a video."""

    still: str
    """URI of the picture, or of a video's middle frame."""
    moving: str
    """URI of the video, an MP4 or an animated WebP as the stored one; "" of a picture."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""


def small(data: bytes, frames: int) -> Small:
    """The small form of a file.

    data: the file.
    frames: of the video; 1 for a picture.
    """
    step = -(-frames // MOST_FRAMES)
    shown = [_thumbnail(Image.fromarray(one)) for one in videos.some(data, frames, range(0, frames, step))]
    moving = _moving(shown, videos.rate(data, frames) / step, mp4.is_one(data)) if frames > 1 else ""
    return _small(shown[len(shown) // 2], moving)


def small_source(data: bytes) -> Small:
    """The small form of a picture to edit, as people see it.

    data: its file.
    """
    return _small(_thumbnail(decoded(data)))


def _small(still: Image.Image, moving: str = "") -> Small:
    exact = max(still.size) <= PIXEL_ART_SIDE
    encoded = io.BytesIO()
    still.save(encoded, "WEBP", lossless=exact, quality=80, method=2)
    return Small(still=_uri("image/webp", encoded.getvalue()), moving=moving, width=still.width, height=still.height)


def _thumbnail(picture: Image.Image) -> Image.Image:
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def _moving(frames: Sequence[Image.Image], rate: Fraction, in_mp4: bool) -> str:
    encoded = _mp4(frames, rate) if in_mp4 else _webp(frames, rate)
    if len(encoded) > MOST_MOVING_BYTES and len(frames) > 2:
        return _moving(frames[::2], rate / 2, in_mp4)
    return _uri("video/mp4" if in_mp4 else "image/webp", encoded)


def _mp4(frames: Sequence[Image.Image], rate: Fraction) -> bytes:
    even = [frame.crop((0, 0, frame.width // 2 * 2, frame.height // 2 * 2)) for frame in frames]
    return mp4.encode(np.stack([np.asarray(frame) for frame in even]), rate, crf=_MP4_CRF)


def _webp(frames: Sequence[Image.Image], rate: Fraction) -> bytes:
    file = io.BytesIO()
    exact = max(frames[0].size) <= PIXEL_ART_SIDE
    more = {"lossless": exact, "quality": _WEBP_QUALITY, "method": 2}
    duration = round(1000 / rate)
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=duration, loop=0, **more)
    return file.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
