"""Small groups for the tiny pipeline, with interventions that show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import Group, Sampling

SAMPLING = Sampling(steps=4, guidance_scale=3.0, width=16, height=16, max_sequence_length=4)
TORA = ToraConfig(sigma=2.0, site="attention")
REPULSION = RepulsionConfig(strength=3.0, max_displacement=1.0, branch="cond", steps=(0.0, 0.15), blocks=(0.6667, 1.0))
SEEDS = (11, 12, 13)


def group(prompt: str = "a red star", seeds: tuple[int, ...] = SEEDS, **changes: Any) -> Group:
    return Group(prompt=prompt, seeds=seeds, **{"sampling": SAMPLING, **changes})


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())
