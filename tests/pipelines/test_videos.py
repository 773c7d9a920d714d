"""Videos as files: WebP keeps every pixel, MP4 is what players read; both have equal bytes for equal pixels, and give
the frames that are asked for."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from pipelines.dataset import images, videos
from pipelines.errors import UserError
from pipelines.plan.shard_size import most_file_bytes
from tests.conftest import Configure

NOISE = np.random.default_rng(0).integers(0, 256, (5, 10, 6, 3), dtype=np.uint8)


def moving(frames: int = 9, *, shade: bool = True) -> NDArray[np.uint8]:
    """A red and a blue half that change places, and a grey that grows."""
    video = np.zeros((frames, 32, 48, 3), np.uint8)
    for number in range(frames):
        video[number, :, :24, 0], video[number, :, 24:, 2] = 200, 120
        if shade:
            video[number, 8:24] = 20 * number
    return video


def test_a_webp_keeps_every_pixel_at_its_rate() -> None:
    data = videos.encode(NOISE, "webp", 8)
    assert videos.encode(NOISE, "webp", 8) == data
    with Image.open(io.BytesIO(data)) as opened:
        frames = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(opened)
        ]
    assert np.array_equal([pixels for pixels, _ in frames], NOISE)
    assert {duration for _, duration in frames} == {125}
    assert images.image_id(NOISE) != images.image_id(NOISE[:4])


def test_an_mp4_is_h264_with_the_colours_of_bt709_and_equal_bytes() -> None:
    video = moving()
    data = videos.encode(video, "mp4", 24)
    assert videos.encode(video, "mp4", 24) == data
    assert data.index(b"moov") < data.index(b"mdat")  # it plays before it is there to its end
    assert b"Lavf" not in data
    with av.open(io.BytesIO(data)) as opened:
        (stream,) = opened.streams
        codec: Any = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 48, 32)
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (1, 1, 1, 1)
        assert f"{stream.frames} at {stream.average_rate}" == "9 at 24"
        assert {key for key in (*opened.metadata, *stream.metadata) if "time" in key or "encoder" in key} == set()


def test_an_mp4_loses_what_nobody_sees() -> None:
    video = moving(shade=False)
    shown = videos.decode(videos.encode(video, "mp4", 24), 9, range(9)).astype(int)
    for half in (slice(2, 22), slice(26, 46)):  # colours of BT.601 that were read as BT.709 would be off by 20
        assert np.abs(shown[:, :, half] - video[:, :, half]).max() <= 3
    assert not np.array_equal(shown, video)


def test_the_index_of_the_longest_mp4_fits_before_its_pixels() -> None:
    video = np.random.default_rng(0).integers(0, 256, (1024, 2, 2, 3), dtype=np.uint8)
    data = videos.encode(video, "mp4", 24)
    assert data.index(b"moov") < data.index(b"mdat")
    assert videos.decode(data, 1024, [0, 1023]).shape == (2, 2, 2, 3)


@pytest.mark.parametrize("shape", [(3, 15, 16, 3), (3, 16, 15, 3)])
def test_an_mp4_needs_even_sides(shape: Any) -> None:
    with pytest.raises(ValueError, match=f"{shape[2]} x {shape[1]} pixels cannot be an MP4: both sides"):
        videos.encode(np.zeros(shape, np.uint8), "mp4", 8)


@pytest.mark.parametrize("kind", ["webp", "mp4"])
def test_frames_are_those_that_were_asked_for(kind: Any) -> None:
    video = moving()
    data = videos.encode(video, kind, 8)
    some = videos.decode(data, 9, [0, 4, 8])
    assert np.array_equal(some, videos.decode(data, 9, range(9))[[0, 4, 8]])
    assert np.abs(some[:, 16, 24].astype(int) - video[[0, 4, 8], 16, 24]).max() <= 3
    with pytest.raises(ValueError, match="ends before frame 11 of 12"):
        videos.decode(data, 12, [0, 11])


@pytest.mark.parametrize("stands", [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0)])
def test_frames_that_are_stored_once_are_counted_as_often_as_they_are_shown(stands: tuple[int, ...]) -> None:
    video = NOISE[list(stands)]
    data = videos.encode(video, "webp", 24)
    for number in range(3):
        assert np.array_equal(videos.decode(data, 3, [number])[0], video[number])
    assert np.array_equal(videos.decode(data, 3, range(3)), video)


def test_a_picture_is_a_video_of_one_frame() -> None:
    for data in (images.encode(NOISE[0], "png"), images.encode(NOISE[0], "webp"), videos.encode(NOISE[:1], "webp", 8)):
        assert np.array_equal(videos.decode(data, 1, [0]), NOISE[:1])


def test_scored_frames_are_the_middles_of_equal_parts() -> None:
    assert videos.evenly_spaced(1, 8) == [0]
    assert [videos.evenly_spaced(frames, 1) for frames in (2, 5, 49)] == [[1], [2], [24]]
    assert videos.evenly_spaced(5, 8) == [0, 1, 2, 3, 4]
    assert videos.evenly_spaced(49, 8) == [3, 9, 15, 21, 27, 33, 39, 45]


def test_scorers_see_the_frames_of_each_video_one_after_the_other() -> None:
    drawn = np.stack([NOISE, NOISE[::-1]])
    pixels, frames = videos.for_scorers(drawn, 2)
    assert frames == 2
    assert np.array_equal(pixels, [NOISE[1], NOISE[3], NOISE[3], NOISE[1]])
    pictures, frames = videos.for_scorers(NOISE, 2)
    assert (pictures is NOISE, frames) == (True, 1)


def test_without_the_package_an_mp4_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.dataset.mp4.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install av"):
        videos.encode(NOISE, "mp4", 8)


def test_no_mp4_is_larger_than_half_its_pixels(configure: Configure) -> None:
    """The size that a shard may have counts on it; nothing codes worse than noise."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 96, 128, 3), dtype=np.uint8)
    sampling = {"width": 128, "height": 96, "frames": 9}
    bounds = {
        kind: most_file_bytes(configure(sampling=sampling, output={"video_format": kind})) for kind in ("webp", "mp4")
    }
    assert bounds == {"webp": noise.nbytes, "mp4": noise.nbytes // 2}
    assert noise.nbytes / 10 < len(videos.encode(noise, "mp4", 8)) < bounds["mp4"]
