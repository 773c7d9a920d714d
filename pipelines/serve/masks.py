"""Masks as OpenAI's clients send them: what is transparent is made anew. The models' own are white there."""

from __future__ import annotations

import io

from PIL import Image, ImageOps


def white_where_transparent(data: bytes) -> bytes:
    """The file of a mask that is white where another one is transparent; one without transparency stays as it is.

    data: a file that `models.pictures.size_of` accepts.
    """
    with Image.open(io.BytesIO(data)) as opened:
        mask = ImageOps.exif_transpose(opened)
    if not mask.has_transparency_data:
        return data
    alpha = mask.convert("RGBA").getchannel("A")
    file = io.BytesIO()
    alpha.point([255, *[0] * 255]).save(file, "PNG")
    return file.getvalue()
