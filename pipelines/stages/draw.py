"""Groups in, pictures out: the part that the generate stage and the endpoint share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from models.spec import Group
from pipelines.dataset import images, videos
from pipelines.dataset.failures import Failure
from pipelines.dataset.videos import VideoFormat
from pipelines.stages.isolate import exit_on_lost_device, free_memory, run_isolated

if TYPE_CHECKING:
    from models.drawn import Drawn

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps) after each denoising step."""

Make = Callable[[Sequence[Group], OnStep], "list[Drawn]"]
"""`draw` of a generator or a replica."""

Around = Callable[[Sequence[int]], AbstractContextManager[OnStep]]
"""Context of each attempt at a batch, made from the numbers of its groups; entering may raise to refuse the batch."""


def draw(
    make: Make, groups: Sequence[Group], packs: Iterable[Sequence[int]], around: Around
) -> Iterator[tuple[int, Drawn | Failure]]:
    """Yields (number of the group, what was drawn) for every group, pack after pack.

    A group that fails, or whose pictures are blank, does not affect the others; see `run_isolated`. The process exits
    when it loses its GPU.

    make: makes the pictures.
    groups: the groups.
    packs: numbers of groups that share a batch.
    around: see `Around`.
    """

    def run(batch: list[int]) -> list[Drawn]:
        with around(batch) as on_step, exit_on_lost_device():
            return make([groups[number] for number in batch], on_step)

    for number, outcome in run_isolated(range(len(groups)), packs, run, free_memory):
        if not isinstance(outcome, Failure) and (bad := images.blank(outcome.pixels)):
            yield number, Failure(error_type="BlankImage", error=f"images {bad} have a single colour")
        else:
            yield number, outcome


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A picture as a file."""

    image_id: str
    """See `pipelines.dataset.images.image_id`."""
    data: bytes
    """Content of the file."""
    ending: str
    """Ending of the file's name, without the dot."""


def encode(
    picture: NDArray[np.uint8], image_format: Literal["png", "webp"], video_format: VideoFormat = "webp", fps: int = 0
) -> Encoded:
    """The file of a picture or a video. Its id is that of the pixels, also where the file does not keep them exactly.

    picture: uint8 [H, W, 3], or of a video [frames, H, W, 3].
    image_format: of a picture.
    video_format, fps: of a video; see `pipelines.dataset.videos.encode`.
    """
    ending: str
    if picture.ndim == 4:
        data, ending = videos.encode(picture, video_format, fps), video_format
    else:
        data, ending = images.encode(picture, image_format), image_format
    return Encoded(image_id=images.image_id(picture), data=data, ending=ending)
