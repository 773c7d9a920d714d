"""The bodies of /v1/videos, in the form of OpenAI's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from pipelines.serve.caller_jobs import Listed
from pipelines.serve.jobs import Clip
from pipelines.serve.response_schema import ErrorBody, GroupReport
from pipelines.serve.schema import ImageRequest, Seed
from pipelines.serve.serving import Serving
from pipelines.serve.settings import ServeArgs


class VideoRequest(ImageRequest):
    """A video is a group of one; it is always a job."""

    seconds: float | None
    output_format: Literal["mp4", "webp"] | None = Field(  # type: ignore[assignment] # other files than of images
        "mp4", description="Extension. H.264 in an MP4, or a lossless animated WebP."
    )
    response_format: Literal["url"] | None = Field("url", description="Videos are fetched when they are made.")
    stream: Literal[False] | None = Field(False, description="Poll the video for its progress.")
    partial_images: Literal[0] | None = Field(None, description="There are none of videos.")
    input_reference: None = Field(None, description="Videos begin from the prompt alone; leave it out.")

    @field_validator("input_reference", mode="before")
    @classmethod
    def _no_reference(cls, value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("not_here", "videos begin from the prompt alone here; leave it out")

    @classmethod
    def numbers(cls, args: ServeArgs) -> dict[str, Any]:
        """As of `ImageRequest`."""
        said = "About how long it is; as the model's settings have it, if absent."
        return {
            "n": (Literal[1] | None, Field(1, description="Videos of a call.")),
            "seeds": (list[Seed] | None, Field(None, min_length=1, max_length=1, description="Extension. Its seed.")),
            "seconds": (float | None, Field(None, gt=0, le=args.max_seconds, description=said)),
        }

    @property
    def by_url(self) -> bool:
        """As of `ImageRequest`."""
        return True

    def clip(self, serving: Serving) -> Clip:
        """As of `ImageRequest`."""
        return Clip(seconds=self.seconds, format=self.output_format or "mp4", fps=serving.fps)


class VideoError(BaseModel):
    code: str
    message: str


class Video(BaseModel):
    """A video as OpenAI describes it, and how it was made; times are seconds since 1970."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    prompt: str
    size: str
    seconds: str
    """As asked for; of the file, once it is completed; "" before that where it was not asked for."""
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    remixed_from_video_id: None = None
    group: GroupReport | None = None
    """As in the answer to a request for images, once it is completed."""


class VideoList(Listed):
    data: list[Video]


class VideoDeleted(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def told(error: ErrorBody | None, cancelled: bool) -> VideoError | None:
    """The error of a video that is not made; OpenAI knows no status for those that were cancelled."""
    if error is not None:
        return VideoError(code=error.code or error.type, message=error.message)
    return VideoError(code="cancelled", message="it was cancelled") if cancelled else None
