"""Encodes videos as files, and decodes some of their frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from pipelines.dataset import mp4

VideoFormat = Literal["webp", "mp4"]
"""A lossless animated WebP, or H.264 in an MP4."""


def encode(video_THWC: NDArray[np.uint8], video_format: VideoFormat, fps: int) -> bytes:
    """A video file; equal pixels give equal bytes.

    video_THWC: uint8 [T, H, W, 3], RGB.
    video_format: of the file.
    fps: frames per second, 1 or more.
    """
    return mp4.encode(video_THWC, fps) if video_format == "mp4" else _webp(video_THWC, fps)


def decode(data: bytes, frames: int, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Some frames of a video, uint8 [wanted, H, W, 3], RGB. One frame is decoded at a time, and only those are kept.

    data: the file; that of a picture is a video of one frame.
    frames: how many the video has.
    wanted: their numbers, from 0, in rising order.

    Raises:
        ValueError: when the file has other frames than that.
    """
    chosen = {*wanted}
    shown = mp4.frames(data, chosen) if mp4.is_one(data) else _webp_frames(data, frames)
    found = [frame_HWC for number, frame_HWC in enumerate(islice(shown, max(chosen) + 1)) if number in chosen]
    if len(found) != len(chosen) or any(frame_HWC is None for frame_HWC in found):
        raise ValueError(f"the file ends before frame {max(chosen)} of {frames}")
    return np.stack([frame_HWC for frame_HWC in found if frame_HWC is not None])


def evenly_spaced(frames: int, count: int) -> list[int]:
    """The middles of `count` equal parts of a video, as numbers of frames; all frames where it has fewer.

    frames: how many the video has.
    count: 1 or more.
    """
    count = min(count, frames)
    return [(2 * part + 1) * frames // (2 * count) for part in range(count)]


def _webp(video_THWC: NDArray[np.uint8], fps: int) -> bytes:
    """A lossless animated WebP. It is one image file with all frames, so that whatever reads the pictures of a dataset
    reads a video too. Consecutive equal frames are stored once, with a longer duration."""
    first, *others = (Image.fromarray(frame_HWC) for frame_HWC in video_THWC)
    file = io.BytesIO()
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=round(1000 / fps),
        loop=0,
        lossless=True,
        exact=True,
    )
    return file.getvalue()


def _webp_frames(data: bytes, frames: int) -> Iterator[NDArray[np.uint8]]:
    """All frames of an image file; those that it stores once, as they follow each other, as often as they are shown."""
    durations = _durations(data)
    step = sum(durations) / frames
    with Image.open(io.BytesIO(data)) as opened:
        for number, frame in enumerate(ImageSequence.Iterator(opened)):
            times = round(durations[number] / step) if step else frames
            frame_HWC = np.asarray(frame.convert("RGB"))
            yield from (frame_HWC for _ in range(times))


def _durations(data: bytes) -> list[int]:
    """Milliseconds of each stored frame of a WebP, as its container says them; [0] of a still picture."""
    found, at = [], 12
    while data.startswith(b"RIFF") and at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"ANMF":  # 24 bits each of x, y, width, height, and then the duration
            found.append(int.from_bytes(data[at + 20 : at + 23], "little"))
        at += 8 + size + size % 2
    return found or [0]
