"""What an arm made of a set of prompts with one seed, as a file that is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded.oracle import Reading
from models.spec import PLACES, ModelSpec
from pipelines.dataset.storage import Storage
from pipelines.evaluation.config import Arm, EvaluationConfig
from pipelines.evaluation.prompts import PromptSet


@dataclass(frozen=True, kw_only=True)
class Made:
    """The pictures of a set, as the oracle reads them, and what they cost."""

    readings: list[Reading]
    """One per prompt."""
    passes: float
    """Forward passes of the transformer for each picture that was kept."""


@dataclass(frozen=True, kw_only=True)
class ArmFiles:
    """The finished files of an evaluation."""

    config: EvaluationConfig
    """The evaluation."""
    output: Storage
    """Its folder."""
    revision: str
    """Of model and oracle."""

    def name(self, arm: Arm, prompts: PromptSet, seed: int) -> str:
        """A file's name: a hash of all settings that change what is in it."""
        made_of = {
            "arm": arm.settings(),
            "sampling": self.config.sampling.settings(pictures=False),
            "prompts": prompts.prompts,
            "group": [prompts.images, seed],
            "model": [self.revision, self.config.model.dtype, *_loading(self.config.model)],
        }
        if arm.draw_times > 1:
            made_of["scorer"] = self.config.scorer  # it says which are kept
        digest = hashlib.blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"arms/{digest}.npz"

    def is_done(self, arm: Arm, prompts: PromptSet, seed: int) -> bool:
        """Whether the file is there."""
        return self.output.exists(self.name(arm, prompts, seed))

    def save(
        self,
        arm: Arm,
        prompts: PromptSet,
        seed: int,
        parts: Sequence[tuple[NDArray[np.uint8], Reading]],
        passes: int,
    ) -> None:
        """Write a file.

        arm, prompts, seed: what was made.
        parts: pictures and their reading for each prompt.
        passes: forward passes of all of them.
        """
        with self.output.open_output(self.name(arm, prompts, seed)) as file:
            np.savez(
                file,
                images=np.stack([images for images, _ in parts]),
                labels=np.stack([reading.labels for _, reading in parts]),
                confidence=np.stack([reading.confidence for _, reading in parts]),
                features=np.stack([reading.features for _, reading in parts]),
                passes=np.array(passes / (len(parts) * prompts.images)),
            )

    def load(self, arm: Arm, prompts: PromptSet, seed: int) -> tuple[Made, NDArray[np.uint8]]:
        """What a file holds, and the pictures: uint8 [prompts, images, H, W, 3]; arguments as of `save`."""
        with self.output.open_input(self.name(arm, prompts, seed)) as file, np.load(file) as arrays:
            columns: dict[str, Any] = dict(arrays)
        readings = [
            Reading(labels=labels, confidence=confidence, features=features)
            for labels, confidence, features in zip(
                columns["labels"], columns["confidence"], columns["features"], strict=True
            )
        ]
        return Made(readings=readings, passes=float(columns["passes"])), columns["images"]

    def stem(self, arm: Arm, prompts: PromptSet, seed: int) -> str:
        """The name without folder and ending."""
        return Path(self.name(arm, prompts, seed)).stem


def _loading(model: ModelSpec) -> list[dict[str, Any]]:
    """How the model is loaded, where that is not as it is by default."""
    usual = asdict(ModelSpec(path=model.path, revision=model.revision, dtype=model.dtype))
    changed = {key: value for key, value in asdict(model).items() if key not in PLACES and value != usual[key]}
    return [changed] if changed else []
