"""H.264 in MP4 by PyAV, an optional package: what browsers, players and loaders of videos read.

A file is decided by its pixels, its frame rate and the version of PyAV, which brings its own x264: one thread, the same
arithmetic on all CPUs, no time and no name of a program.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError

CRF = 17
"""x264's constant rate factor: from 17 or 18 on, people see no difference."""

_X264 = {"preset": "medium", "x264-params": "cpu-independent=1"}
_BT709 = 1
"""In the numbers of ISO/IEC 23091-2, of primaries, transfer and matrix."""
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME = 4096, 32
"""Room for the index before the pixels, so that a player begins before it has the whole file. What is not needed stays
free; ffmpeg's way without it needs a file on a disk."""


def require(what: str) -> None:
    """Check that PyAV is there.

    what: needs it, for the message.

    Raises:
        UserError: when it is not.
    """
    if find_spec("av") is None:
        raise UserError(f"{what} needs the package av, which is not installed: pip install av, on every worker")


def is_one(data: bytes) -> bool:
    """Whether a file is an MP4."""
    return data[4:8] == b"ftyp"


def encode(video_THWC: NDArray[np.uint8], fps: int | Fraction, *, crf: int = CRF) -> bytes:
    """An MP4 with H.264 in 4:2:0 and the colours of BT.709, which all players know; equal pixels give equal bytes.

    video_THWC: uint8 [T, H, W, 3], RGB, of even sides.
    fps: frames per second, more than 0.
    crf: as `CRF`; larger numbers give smaller files.

    Raises:
        ValueError: when a side is odd: 4:2:0 has a colour for 2 x 2 pixels.
    """
    require("an MP4")
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    frames, height, width, _ = video_THWC.shape
    if height % 2 or width % 2:
        raise ValueError(f"a video of {width} x {height} pixels cannot be an MP4: both sides need to be even")
    index_bytes = _INDEX_BYTES + _INDEX_BYTES_PER_FRAME * frames
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"moov_size": str(index_bytes), "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={**_X264, "crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1
        codec.color_primaries = codec.color_trc = codec.colorspace = _BT709
        codec.color_range = ColorRange.MPEG
        for number, frame_HWC in enumerate(video_THWC):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            )
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def frames(data: bytes, wanted: Collection[int]) -> Iterator[NDArray[np.uint8] | None]:
    """The frames of an MP4 in order, uint8 [H, W, 3], RGB; None for those that are not wanted, which get no colours.

    data: the file.
    wanted: numbers of frames, from 0.
    """
    require("an MP4")
    import av

    with av.open(io.BytesIO(data), "r") as container:
        for number, frame in enumerate(container.decode(video=0)):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) if number in wanted else None


def rate(data: bytes) -> Fraction:
    """The frames per second of an MP4.

    data: the file.
    """
    require("an MP4")
    import av

    with av.open(io.BytesIO(data), "r") as container:
        return Fraction(container.streams.video[0].average_rate or 1)
