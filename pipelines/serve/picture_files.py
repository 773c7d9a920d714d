"""The image files of an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset import images
from pipelines.serve.jobs import Job
from pipelines.stages.draw import Encoded, encode


def file_of(picture: NDArray[np.uint8], job: Job, fps: int) -> Encoded:
    """The file of a picture or a video: as the batch job writes it, or a JPEG.

    picture: uint8 [H, W, 3], or of a video [frames, H, W, 3].
    job: says in which format.
    fps: of a video.
    """
    if job.clip is not None:
        return encode(picture, "png", job.clip.format, fps)
    if job.image_format == "jpeg":
        data = images.encode_jpeg(picture, job.jpeg_quality)
        return Encoded(image_id=images.image_id(picture), data=data, ending="jpeg")
    return encode(picture, job.image_format)
