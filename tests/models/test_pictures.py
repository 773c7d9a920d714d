"""Pictures that a model is given: what is refused, and how the rest is seen."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models import pictures
from models.errors import PromptError
from models.pictures import check, decoded, decoded_mask, size_of

RED, GREEN = (250, 0, 0), (0, 250, 0)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def wide(mode: str = "RGB") -> Image.Image:
    """8 x 4, red on the left and green on the right."""
    image = Image.new("RGB", (8, 4), GREEN)
    image.paste(RED, (0, 0, 4, 4))
    return image.convert(mode)


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(decoded(data)).astype(int)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})])
def test_three_formats_are_read(kind: str, options: dict[str, Any]) -> None:
    data = file(wide(), kind, **options)
    assert size_of(data) == (8, 4)
    assert np.abs(pixels(data)[:, 0] - RED).max() < 20


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_others_are_not(kind: str) -> None:
    with pytest.raises(PromptError, match=r"\d+ bytes\) cannot be read: it is no PNG, JPEG or WEBP file"):
        size_of(file(wide(), kind))


def test_a_picture_that_was_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is the right side
    data = file(wide(), exif=exif)
    assert size_of(data) == decoded(data).size == (4, 8)
    assert pixels(data)[0].tolist() == [[*RED]] * 4


def test_a_size_is_read_without_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = file(wide()), file(wide(), exif=exif)
    at, ends = turned.index(b"eXIf") - 4, turned.index(b"IDAT") - 4
    behind = turned[:at] + turned[ends:-12] + turned[at:ends] + turned[-12:]  # as some programs add it
    assert decoded(behind).size == (4, 8)

    def load(image: Image.Image) -> None:
        raise AssertionError("its pixels are decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert [size_of(data) for data in (plain, turned, behind)] == [(8, 4), (4, 8), (4, 8)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    if mode == "P":
        data = file(Image.new("P", (8, 4), 0), transparency=0)
    else:
        clear = wide().convert(mode)
        clear.putalpha(0)
        data = file(clear)
    assert (pixels(data) == 255).all()


def test_half_transparent_is_mixed_with_white() -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert (pixels(file(image)) == 127).all()


def test_grey_of_16_bits_keeps_its_shades() -> None:
    """Pillow alone makes white of all above 255."""
    grey = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    assert pixels(file(Image.fromarray(grey)))[..., 0].tolist() == [[0, 100], [200, 255]]


def test_an_animated_picture_is_refused() -> None:
    frames = {"save_all": True, "append_images": [Image.new("RGB", (8, 4), RED)]}
    for kind in ("PNG", "WEBP"):
        with pytest.raises(PromptError, match="is animated; give one of its frames"):
            size_of(file(wide(), kind, **frames))


def test_the_several_views_of_a_phone_are_one_picture() -> None:
    data = file(wide(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 4), GREEN)], quality=95)
    assert np.abs(pixels(data)[:, 0] - RED).max() < 20


def test_too_many_pixels_are_refused_before_they_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(wide())
    monkeypatch.setattr(pictures, "MOST_PIXELS", 31)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(PromptError, match="8 x 4 pixels, more than"):
        decoded(data)


def test_a_bomb_of_pixels_is_refused() -> None:
    header = bytearray(file(Image.new("1", (8, 8))))
    header[16:24] = (60_000).to_bytes(4) * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4)
    with pytest.raises(PromptError, match="more than 64 megapixels"):
        size_of(bytes(header))


def test_broken_files_are_a_prompts_error_whatever_is_broken() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in pictures.FORMATS:
        whole = file(noise, kind, exif=exif)
        with pytest.raises(PromptError, match="cannot be read"):
            decoded(whole[: len(whole) // 2])
        for _ in range(300):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(256)
            with suppress(PromptError):
                decoded(bytes(data))


def test_a_mask_is_white_somewhere_and_as_large_as_its_picture() -> None:
    assert decoded_mask(file(Image.new("1", (8, 4), 1)), (8, 4)).mode == "L"
    with pytest.raises(PromptError, match="has 8 x 4 pixels and its picture 4 x 8 pixels"):
        decoded_mask(file(Image.new("1", (8, 4), 1)), (4, 8))
    with pytest.raises(PromptError, match="the mask is black"):
        decoded_mask(file(Image.new("L", (8, 4), 120)), (8, 4))


def test_how_many_a_model_takes() -> None:
    picture = file(wide())

    def refused(count: int, takes: tuple[int, int], match: str, *, mask: bytes | None = None) -> None:
        with pytest.raises(PromptError, match=match):
            check((picture,) * count, mask, takes, masks=takes == (0, 1), owner="sd3")

    refused(1, (0, 0), "^sd3 takes no input picture; the prompt has 1$")
    refused(0, (1, 1), "^sd3 edits pictures: each prompt needs 1; the prompt has none$")
    refused(4, (1, 3), "^sd3 edits pictures: each prompt needs 1 to 3; the prompt has 4$")
    refused(2, (0, 1), "^sd3 takes at most 1 input picture; the prompt has 2$")
    refused(1, (1, 1), "^sd3 takes no mask here$", mask=picture)
    refused(0, (0, 1), "there is no picture$", mask=picture)
    check((picture,), picture, (0, 1), masks=True, owner="sd3")
    with pytest.raises(PromptError, match="cannot be read"):
        check((picture,), b"no mask", (0, 1), masks=True, owner="sd3")


def test_they_are_checked_without_torch() -> None:
    code = "import sys; import models.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
