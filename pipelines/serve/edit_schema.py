"""The body of /v1/images/edits: OpenAI's fields, pictures as files of a form or as data URLs."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from models.errors import PromptError
from models.pictures import size_of
from pipelines.serve.schema import ImageRequest

_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*;base64,([A-Za-z0-9+/=\s]*)")
_MOST_PICTURES = 16


def _refuse(reason: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_picture", "{reason}", {"reason": reason})


def _bytes_of(value: Any) -> bytes:
    """The file of a picture: a form's file, a data URL, or OpenAI's object with one."""
    if isinstance(value, dict):
        if value.keys() != {"image_url"}:
            raise _refuse(
                'send {"image_url": "data:image/png;base64,..."}; no files are kept here that an id could name'
            )
        value = value["image_url"]
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _refuse("a picture is a file of a form, or a data URL")
    if re.match(r"https?://", value, re.IGNORECASE):
        raise _refuse("nothing is fetched for a caller: send the picture itself, as a file of a form or as a data URL")
    matched = _DATA_URL.fullmatch(value)
    if matched is None:
        raise _refuse("a picture is a file of a form, or a data URL such as data:image/png;base64,...")
    try:
        return base64.b64decode(matched[1], validate=False)
    except binascii.Error as error:
        raise _refuse(f"the data URL is no base64: {error}") from None


def _checked(data: bytes) -> bytes:
    try:
        size_of(data)
    except PromptError as error:
        raise _refuse(str(error)) from None
    return data


def _as_text(data: bytes) -> str:
    return f"data:;base64,{base64.b64encode(data).decode()}"


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_PICTURE = {
    "anyOf": [
        {"type": "string", "format": "binary", "description": "A file of a form: PNG, JPEG or WebP."},
        {"type": "string", "description": "A data URL.", "pattern": "^data:"},
        {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"]},
    ]
}
Picture = Annotated[
    bytes,
    BeforeValidator(_bytes_of),
    AfterValidator(_checked),
    PlainSerializer(_as_text, when_used="json"),
    WithJsonSchema(_PICTURE),
]
"""The file of a picture, whose size and kind are looked at, and nothing more."""


class EditRequest(ImageRequest):
    """A request for images that are made of others."""

    kind_of_events: ClassVar[str] = "image_edit"
    sampling_fields: ClassVar[tuple[str, ...]] = (*ImageRequest.sampling_fields, "denoising_strength")
    size_unsaid: ClassVar[str] = "auto"

    image: Annotated[list[Picture], BeforeValidator(_as_list)] = Field(
        validation_alias=AliasChoices("image", "images"),
        min_length=1,
        max_length=_MOST_PICTURES,
        description="The picture to edit, or several where the model takes several; `images` in JSON.",
    )
    mask: Picture | None = Field(
        None,
        description="As large as the first picture; what is transparent in it is made anew. One without transparency "
        "is read in shades of grey: what is nearer to white is made anew.",
    )
    denoising_strength: float | None = Field(
        None,
        ge=0.01,
        le=1,
        description="Extension. Of models that begin from the picture: the share of the steps that are made, so how "
        "far the image may leave the picture.",
    )
    input_fidelity: Literal["low"] | None = Field(
        None, description="There are no levels of fidelity here: set denoising_strength; leave it out."
    )

    @field_validator("mask", mode="after")
    @classmethod
    def _as_large(cls, mask: bytes | None, info: ValidationInfo) -> bytes | None:
        if mask is not None and (pictures := info.data.get("image")):
            size, of_picture = size_of(mask), size_of(pictures[0])
            if size != of_picture:
                told = f"it has {size[0]} x {size[1]} pixels and the picture {of_picture[0]} x {of_picture[1]}"
                raise _refuse(f"{told}: they need to be equally large")
        return mask

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """As of `ImageRequest`."""
        return tuple(self.image)

    @property
    def mask_file(self) -> bytes | None:
        """As of `ImageRequest`."""
        return self.mask
