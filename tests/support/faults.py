"""A generator that meets the faults that its prompts name; everything else of the flow is the real thing."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import ImageError
from models.spec import Group
from pipelines.stages.generate import GenerateShard


class FaultyGenerateShard(GenerateShard):
    """Prompts: "raises", "memory" (also alone), "crowd" (with others), "nan", "black"."""

    def _generate(self, groups: list[Group]) -> Sequence[NDArray[np.uint8]]:
        prompts = [group.prompt for group in groups]
        if "raises" in prompts:
            raise KeyError("the group raises")
        if "memory" in prompts or ("crowd" in prompts and len(prompts) > 1):
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        if "nan" in prompts:
            raise ImageError("the model produced NaN")
        made = super()._generate(groups)
        return [
            np.zeros_like(images) if prompt == "black" else images for prompt, images in zip(prompts, made, strict=True)
        ]


class DyingGenerateShard(GenerateShard):
    """The first call anywhere finds its GPU broken, as torch says it; the prompt "dies" kills its process each time."""

    def _generate(self, groups: list[Group]) -> Sequence[NDArray[np.uint8]]:
        if self._output.create_bytes("../device-was-lost", b""):
            self._generator.generate = _broken  # type: ignore[method-assign, assignment]
        elif "dies" in [group.prompt for group in groups]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._generate(groups)


def _broken(*arguments: object) -> list[NDArray[np.uint8]]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
