"""Small pictures of images that are still being made.

With flow matching, latents are a mix of image and noise, and the model predicts a straight line from one to the other.
Two latents of a run lie on it nearly: the line through them, drawn on to where no noise is left, is what the model now
takes the image to be. So a preview needs no call of the transformer, and nothing of the run changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.decoding import Decode
from models.denoising import Denoising
from models.spec import Sampling

_LONGEST_SIDE = 256
"""Most pixels of a preview's longer side: it costs a small part of the autoencoder's time and memory for the image."""


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Who wants to see previews.

    wanted: how many of each group's images, by group; a run of few steps has fewer.
    send: gets the number of a group, and uint8 [B, h, w, 3], its images as they are now.
    """

    wanted: Sequence[int]
    send: Callable[[int, NDArray[np.uint8]], None]

    def of(self, groups: Sequence[int]) -> Previews:
        """The same for some of the groups, which are numbered anew.

        groups: their numbers.
        """
        return Previews(
            wanted=[self.wanted[group] for group in groups],
            send=lambda at, pixels_BHWC: self.send(groups[at], pixels_BHWC),
        )


def steps_of_previews(wanted: int, steps: int) -> frozenset[int]:
    """The steps after which there are previews, evenly spread. A line needs two latents, so there is none after the
    first step; after the last one there is the image.

    wanted: previews.
    steps: of the run.
    """
    return frozenset(max(2, round(steps * at / (wanted + 1))) for at in range(1, wanted + 1)) & frozenset(range(steps))


class Watch:
    """Watches a run, and sends previews of it. An instance is the pipeline's `callback_on_step_end`.

    run: the run.
    sampling: its settings.
    decode: as in `models.decoding`.
    previews: who wants to see what.
    """

    def __init__(self, run: Denoising, sampling: Sampling, decode: Decode, previews: Previews) -> None:
        self._run, self._sampling, self._decode, self._previews = run, sampling, decode, previews
        self._steps = [steps_of_previews(wanted, run.steps) for wanted in previews.wanted]
        self._before: tuple[float, Tensor] | None = None
        self._now: tuple[float, Tensor] | None = None

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """diffusers' hook after each step of the sampler."""
        level, latents = self._run.noise_level, tensors["latents"]
        if self._now is None or self._now[0] != level:  # Heun's sampler comes to each level twice
            self._before = self._now
        self._now = (level, latents)
        if self._before is not None:
            for group, steps in enumerate(self._steps):
                if self._run.step in steps:
                    self._send(pipe, group, self._before)
        return {}

    def _send(self, pipe: Any, group: int, before: tuple[float, Tensor]) -> None:
        assert self._now is not None
        rows = slice(group * self._run.samples, (group + 1) * self._run.samples)
        (level, latents), (level_before, latents_before) = self._now, before
        now, then = latents[rows].float(), latents_before[rows].float()
        image = now + (now - then) * (level / (level_before - level))
        pictures_BCHW = self._decode(pipe, image, self._sampling, self._shrink)
        pictures = pipe.image_processor.postprocess(pictures_BCHW.float(), output_type="np")
        self._previews.send(group, np.rint(np.nan_to_num(pictures) * 255.0).astype(np.uint8))

    def _shrink(self, latents_BCHW: Tensor) -> Tensor:
        parts = ceil(max(self._sampling.width, self._sampling.height) / _LONGEST_SIDE)
        height, width = (max(1, side // parts) for side in latents_BCHW.shape[2:])
        return latents_BCHW if parts == 1 else F.interpolate(latents_BCHW, (height, width), mode="area")
