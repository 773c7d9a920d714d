"""Groups in, pictures out: how the generate stage and the endpoint draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from models.spec import Group
from pipelines.dataset import images
from pipelines.dataset.failures import Failure
from pipelines.stages.isolate import exit_on_lost_device, free_memory, run_isolated

if TYPE_CHECKING:
    from models.generator import Generator
    from models.replica.replica import Replica

Pixels = NDArray[np.uint8]
"""Of a group: [B, H, W, 3], or [B, frames, H, W, 3] of videos."""

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps) after each denoising step."""

Around = Callable[[Sequence[int]], AbstractContextManager[OnStep]]
"""What a caller does around each try of a batch, from the numbers of its groups; it may raise to refuse the batch."""


def draw(
    generator: Generator | Replica, groups: Sequence[Group], packs: Iterable[Sequence[int]], around: Around
) -> Iterator[tuple[int, Pixels | Failure]]:
    """Yield (number of the group, its pictures) for every group, pack after pack.

    A group that cannot be drawn, or whose pictures are blank, costs itself only; see `run_isolated`. The process ends
    where it loses its GPU.
    """

    def run(batch: list[int]) -> list[Pixels]:
        with around(batch) as on_step, exit_on_lost_device():
            return generator.generate([groups[number] for number in batch], on_step)

    for number, outcome in run_isolated(range(len(groups)), packs, run, free_memory):
        if not isinstance(outcome, Failure) and (bad := images.blank(outcome)):
            yield number, Failure(error_type="BlankImage", error=f"images {bad} have a single colour")
        else:
            yield number, outcome


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A picture as a file. ending: of the file's name, without a dot."""

    image_id: str
    data: bytes
    ending: str


def encode(picture: NDArray[np.uint8], image_format: Literal["png", "webp"], *, frames_per_second: int = 0) -> Encoded:
    """One picture [H, W, 3] in the format asked for, or one video [frames, H, W, 3], which is always WebP."""
    if picture.ndim == 4:
        data, ending = images.encode_video(picture, frames_per_second), "webp"
    else:
        data, ending = images.encode(picture, image_format), str(image_format)
    return Encoded(image_id=images.image_id(picture), data=data, ending=ending)
