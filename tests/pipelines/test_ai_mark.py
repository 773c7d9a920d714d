"""The mark of images that a model has made: readers of others find it, and nothing else has changed."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from pipelines.dataset import ai_mark, images, videos
from pipelines.dataset.ai_mark import SOURCE_TYPE
from pipelines.dataset.content_credentials import Credentials, finishing
from pipelines.errors import UserError

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
VIDEO = np.random.default_rng(1).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: images.encode(PICTURE, "png"),
    "webp": lambda: images.encode(PICTURE, "webp"),
    "webp of an odd length": lambda: images.encode(PICTURE[:, :6], "webp"),
    "jpeg": lambda: images.encode_jpeg(PICTURE, 90),
    "animated webp": lambda: videos.encode(VIDEO, "webp", 8),
}
"""Files as the job writes them."""


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]()


def frames(data: bytes) -> list[tuple[bytes, object]]:
    with Image.open(io.BytesIO(data)) as opened:
        return [(frame.tobytes(), frame.info.get("duration")) for frame in ImageSequence.Iterator(opened)]


def test_pillow_finds_it(file: bytes) -> None:
    with Image.open(io.BytesIO(ai_mark.marked(file))) as opened:
        packet = opened.info["xmp"]
    (said,) = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert said.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == SOURCE_TYPE


def test_exiv2_finds_it(file: bytes) -> None:
    exiv2 = pytest.importorskip("pyexiv2")
    for data, found in ((file, {}), (ai_mark.marked(file), {"Xmp.iptcExt.DigitalSourceType": SOURCE_TYPE})):
        with exiv2.ImageData(data) as opened:
            assert opened.read_xmp() == found


def test_ffmpeg_finds_it_in_an_mp4_that_is_the_same_else() -> None:
    file = videos.encode(VIDEO[:, :8, :6], "mp4", 8)
    marked = ai_mark.marked(file)
    assert (marked[: len(file)], ai_mark.marked(file)) == (file, marked)
    for data, found in ((file, False), (marked, True)):
        with av.open(io.BytesIO(data), "r", options={"export_xmp": "1"}) as opened:
            packet = opened.metadata.get("xmp", "")
        assert (f'DigitalSourceType="{SOURCE_TYPE}"' in packet) == found
    assert np.array_equal(videos.decode(marked, 5, range(5)), videos.decode(file, 5, range(5)))


def test_pixels_frames_and_durations_stay(file: bytes) -> None:
    marked = ai_mark.marked(file)
    assert frames(marked) == frames(file)
    assert ai_mark.marked(file) == marked
    assert 0 < len(marked) - len(file) < 500


def test_transparency_stays() -> None:
    saved = io.BytesIO()
    Image.fromarray(np.dstack([PICTURE, PICTURE[..., :1]])).save(saved, "WEBP", lossless=True, exact=True)
    assert frames(ai_mark.marked(saved.getvalue())) == frames(saved.getvalue())
    with Image.open(io.BytesIO(ai_mark.marked(saved.getvalue()))) as opened:
        assert opened.mode == "RGBA"


def test_to_sign_needs_a_package_which_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.dataset.content_credentials.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install c2pa-python"):
        finishing(mark=True, credentials=Credentials(certificate="chain.pem", key="key.pem"))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_what_a_run_does_not_write_is_refused(image_format: str) -> None:
    saved = io.BytesIO()
    Image.fromarray(PICTURE).save(saved, image_format)
    with pytest.raises(ValueError, match="can be marked; leave the mark out"):
        ai_mark.marked(saved.getvalue())


def test_an_mp4_has_it_in_the_box_of_xmp_at_its_end() -> None:
    video = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    data = videos.encode(video, "mp4", 8)
    marked = ai_mark.marked(data)
    assert marked.startswith(data)
    box = marked[len(data) :]
    assert (int.from_bytes(box[:4], "big"), box[4:8]) == (len(box), b"uuid")
    assert box[8:24].hex() == "be7acfcb97a942e89c71999491e3afac"
    assert SOURCE_TYPE.encode() in box
    assert (videos.decode(marked, 5, [0, 4]) == videos.decode(data, 5, [0, 4])).all()
