"""Encodes videos as files, and decodes some of their frames."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from fractions import Fraction
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


def decode(data: bytes, frames: int, wanted: Collection[int]) -> NDArray[np.uint8]:
    """Some frames of a video, uint8 [wanted, H, W, 3], RGB; arguments and errors as of `some`."""
    return np.stack([*some(data, frames, wanted)])


def some(data: bytes, frames: int, wanted: Collection[int]) -> Iterator[NDArray[np.uint8]]:
    """Some frames of a video in their order, uint8 [H, W, 3], RGB. One frame is decoded at a time.

    data: the file; that of a picture is a video of one frame.
    frames: how many the video has.
    wanted: their numbers, from 0.

    Raises:
        ValueError: when the file does not have them.
    """
    shown = mp4.frames(data, wanted) if mp4.is_one(data) else _webp_frames(data, frames)
    left, last = len(wanted), max(wanted)
    for number, frame_HWC in enumerate(islice(shown, last + 1)):
        if number in wanted and frame_HWC is not None:
            left -= 1
            yield frame_HWC
    if left:
        raise ValueError(f"the file ends before frame {last} of {frames}")


def rate(data: bytes, frames: int) -> Fraction:
    """The frames per second at which a file says that it plays.

    data: the file.
    frames: how many the video has.
    """
    return mp4.rate(data) if mp4.is_one(data) else Fraction(1000 * frames, max(1, sum(_durations(data))))


def evenly_spaced(frames: int, count: int) -> list[int]:
    """The middles of `count` equal parts of a video, as numbers of frames; all frames where it has fewer.

    frames: how many the video has.
    count: 1 or more.
    """
    count = min(count, frames)
    return [(2 * part + 1) * frames // (2 * count) for part in range(count)]


def for_scorers(drawn: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], int]:
    """What scorers see of a group that was just drawn: pictures, uint8 [N, H, W, 3], and how many of them are frames of
    one video, which follow each other.

    drawn: uint8 [B, H, W, 3], or of videos [B, T, H, W, 3].
    count: frames of each video, 1 or more.
    """
    if drawn.ndim == 4:
        return drawn, 1
    wanted = evenly_spaced(drawn.shape[1], count)
    return drawn[:, wanted].reshape(-1, *drawn.shape[2:]), len(wanted)


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
