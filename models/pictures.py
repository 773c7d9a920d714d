"""Pictures that a model is given, from the bytes of their files: checked, then as people see them. Importable without
torch, so that they can be refused before a model is loaded."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import PromptError

MOST_PIXELS = 64_000_000
"""Of a picture. A larger one is refused by what its header says, before memory is taken for it."""

FORMATS = ("PNG", "JPEG", "WEBP")

_TURNED = range(5, 9)
"""Orientations of EXIF that lay a picture on its side."""
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_BESIDE = 12
"""Bytes of a chunk of a PNG besides its content."""
_END = b"\0\0\0\0IEND\xaeB`\x82"
"""A PNG's last chunk, which those that are cut off lack."""
_WHITE = (255, 255, 255, 255)


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a picture as people see it. Its pixels are not decoded.

    data: its file, PNG, JPEG or WebP.

    Raises:
        PromptError: when it is no such picture, is animated, or has too many pixels.
    """
    with _open(data) as image:
        width, height = image.size
        return (height, width) if _exif(image, data).get(_ORIENTATION) in _TURNED else (width, height)


def decoded(data: bytes) -> Image.Image:
    """A picture as people see it: upright, as its EXIF orientation says, and in RGB on white where it is transparent. A
    colour profile is not applied.

    data: as of `size_of`.

    Raises:
        PromptError: as by `size_of`, or when its pixels are broken.
    """
    with _open(data) as image:
        upright = _eight_bits(ImageOps.exif_transpose(image))
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        flat = Image.new("RGBA", upright.size, _WHITE)
        flat.alpha_composite(upright.convert("RGBA"))
        return flat.convert("RGB")


def decoded_mask(data: bytes, size: tuple[int, int]) -> Image.Image:
    """A mask in shades of grey, of which what is nearer to white is to be painted anew.

    data: as of `size_of`.
    size: width and height of its picture.

    Raises:
        PromptError: as by `decoded`, or when it has another size than its picture, or nothing that is near white.
    """
    mask = decoded(data).convert("L")
    if mask.size != size:
        raise PromptError(
            f"the mask has {_pixels(mask.size)} and its picture {_pixels(size)}: they need to be equally large"
        )
    if mask.getextrema()[1] < 128:  # type: ignore[operator] # of one band
        raise PromptError("the mask is black: what is to be painted anew has to be white")
    return mask


def check(pictures: Sequence[bytes], mask: bytes | None, takes: tuple[int, int], masks: bool, owner: str) -> None:
    """Check what a group is given, but for its pixels.

    pictures: their files.
    mask: the mask's file.
    takes: least and most pictures that the model takes.
    masks: whether it takes a mask.
    owner: what to call the model.

    Raises:
        PromptError: as by `size_of`, or when the model takes another number of them, or no mask.
    """
    least, most = takes
    if not least <= len(pictures) <= most:
        raise PromptError(f"{owner} {_rule(least, most)}; the prompt has {len(pictures) or 'none'}")
    if mask is not None and not masks:
        raise PromptError(f"{owner} takes no mask here")
    if mask is not None and not pictures:
        raise PromptError("a mask says what of a picture is painted anew: there is no picture")
    for data in (*pictures, *([] if mask is None else [mask])):
        size_of(data)


def _rule(least: int, most: int) -> str:
    if not most:
        return "takes no input picture"
    if least:
        return f"edits pictures: each prompt needs {least if least == most else f'{least} to {most}'}"
    return f"takes at most {most} input picture{'s' * (most > 1)}"


def _exif(image: Image.Image, data: bytes) -> Image.Exif:
    """EXIF of a picture. In a PNG it may stand behind the pixels, which Pillow decodes to get there.

    data: its file.
    """
    if image.format != "PNG":
        return image.getexif()
    kept, at = [data[: len(_PNG)]], len(_PNG)
    while at < len(data):
        end = at + _BESIDE + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] != b"IDAT":
            kept.append(data[at:end])
        at = end
    with Image.open(io.BytesIO(b"".join([*kept, _END])), formats=("PNG",)) as without_pixels:
        return Image.Image.getexif(without_pixels)


@contextmanager
def _open(data: bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is below Pillow's
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise PromptError(
                    f"the input picture has {_pixels(image.size)}, more than {MOST_PIXELS // 1_000_000} megapixels"
                )
            # Phones put several views of one scene into a JPEG ("MPO"); the first is the picture.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise PromptError("the input picture is animated; give one of its frames")
            yield image
    except Image.DecompressionBombError:
        raise PromptError(f"the input picture has more than {MOST_PIXELS // 1_000_000} megapixels") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        if isinstance(error, PromptError):
            raise
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        reason = f"it is no {kinds} file" if isinstance(error, UnidentifiedImageError) else str(error)
        raise PromptError(f"the input picture ({len(data):,} bytes) cannot be read: {reason}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would cut off at 255, in 8."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).astype(np.uint8))


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
