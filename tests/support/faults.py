"""A generator that meets the faults that its prompts name; everything else of the flow is the real thing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.drawn import Drawn
from models.errors import ImageError
from models.spec import Group
from pipelines.stages.generate import GenerateShard

Draw = Callable[..., list[Drawn]]


class FaultyGenerateShard(GenerateShard):
    """Prompts: "raises", "memory" (also alone), "crowd" (with others), "nan", "black"."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        real: Draw = self._generator.draw

        def draw(groups: Sequence[Group], *rest: Any) -> list[Drawn]:
            prompts = [group.prompt for group in groups]
            if "raises" in prompts:
                raise KeyError("the group raises")
            if "memory" in prompts or ("crowd" in prompts and len(prompts) > 1):
                raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
            if "nan" in prompts:
                raise ImageError("the model produced NaN")
            made = real(groups, *rest)
            return [_blackened(m) if prompt == "black" else m for prompt, m in zip(prompts, made, strict=True)]

        self._generator.draw = draw  # type: ignore[method-assign, assignment]


def _blackened(drawn: Drawn) -> Drawn:
    return replace(drawn, pixels=np.zeros_like(drawn.pixels))


class DyingGenerateShard(GenerateShard):
    """The first call anywhere finds its GPU broken, as torch says it; the prompt "dies" kills its process each time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        real: Draw = self._generator.draw

        def draw(groups: Sequence[Group], *rest: Any) -> Any:
            if self._output.create_bytes("../device-was-lost", b""):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if "dies" in [group.prompt for group in groups]:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(groups, *rest)

        self._generator.draw = draw  # type: ignore[method-assign, assignment]
