"""Makes the pictures of an arm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded.pictures import drawn, groups_of
from models.generator import Generator
from models.scorers.base import ImageGroup, Scorer
from models.seeds import image_seed
from models.spec import Group
from pipelines.config.arms import loras_of
from pipelines.evaluation.config import Arm, EvaluationConfig
from pipelines.evaluation.keep import kept
from pipelines.evaluation.prompts import PromptSet


@dataclass(kw_only=True, eq=False)
class Maker:
    """The models that make pictures."""

    config: EvaluationConfig
    """The evaluation."""
    generator: Generator
    """Of the embedded model."""
    scorer: Scorer | None
    """Chooses what is kept; None where all arms keep everything."""

    def pictures(self, arm: Arm, prompts: PromptSet, seed: int) -> Iterator[NDArray[np.uint8]]:
        """The kept pictures of each prompt in order, uint8 [images, H, W, 3].

        arm: how they are made.
        prompts: of what.
        seed: of the noise, and of what expansions draw.
        """
        made = prompts.images * arm.draw_times
        size = self.config.prompts.groups_per_batch * self.config.prompts.group_size
        asked = [self._groups(arm, prompt, made, seed) for prompt in prompts.prompts]
        groups = drawn(self.generator, asked, prompts_per_batch=max(1, size // made))
        for prompt, pixels in zip(prompts.prompts, groups, strict=True):
            yield pixels if made == prompts.images else self._kept(prompt, pixels, prompts.images)

    def _groups(self, arm: Arm, prompt: str, images: int, seed: int) -> list[Group]:
        shared: dict[str, Any] = {
            "sampling": arm.own_sampling.of(self.config.sampling),
            "interventions": arm.interventions,
            "loras": loras_of(arm, self.config.model),
        }
        seeds = [image_seed(seed, prompt, index) for index in range(images)]
        return groups_of(prompt, seeds, arm.expand, **shared)

    def _kept(self, prompt: str, pixels: NDArray[np.uint8], images: int) -> NDArray[np.uint8]:
        assert self.scorer is not None
        scores = self.scorer.score([ImageGroup(pixels_BHWC=pixels, prompt=prompt, counterfactual=None)])[0]
        assert scores.features_BD is not None
        return pixels[kept(scores.score_B, scores.features_BD, images)]
