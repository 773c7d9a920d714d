"""Where a denoising run is: the step, and how the batch is laid out. Filled by a hook on the transformer's root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.errors import ModelError
from models.parallel.shards import WHOLE, Shards


@dataclass(kw_only=True)
class Clock:
    """State that the block hooks share during one run.

    steps: denoising steps of the run; groups and samples: the batch holds `groups` groups of `samples` images, rows
    group-major; valid_BN: bool [groups * samples, N], the text tokens that are not padding; scheduler: the pipeline's,
    whose step index tells the step; shards: which part of the batch the blocks of this process see.
    """

    steps: int
    groups: int
    samples: int
    valid_BN: Tensor
    scheduler: Any
    shards: Shards = WHOLE
    step: int = 0
    branches: int = 1

    @property
    def images(self) -> int:
        """Images in the batch."""
        return self.groups * self.samples

    def tick(self, rows: int) -> None:
        """Note the start of a transformer call on `rows` rows: [negative; positive] or positive alone.

        Raises:
            ModelError: the batch is not the one that was announced.
        """
        # The index is None until the scheduler has made its first step.
        self.step = self.scheduler.step_index or 0
        self.branches, rest = divmod(rows, self.images)
        if rest or self.branches not in (1, 2):
            raise ModelError(
                f"the transformer was called with {rows} rows for {self.images} images: only one row, or a negative "
                "and a positive row, per image is understood"
            )
