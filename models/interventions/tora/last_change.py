"""What one block keeps of TORA from step to step: a decomposition may serve several steps, or come a step late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.interventions.numerics.beside import Beside
from models.interventions.tora.config import ToraConfig


class LastChange:
    """The change of one set of tokens in one block that the last decomposition found. It is of one denoising run, so
    that the same settings give the same pictures whatever was drawn before.

    config: the settings.
    """

    def __init__(self, config: ToraConfig) -> None:
        self._steps, self._late = config.refresh_steps, config.lag_steps > 0
        self._begun_at: int | None = None
        self._change: Any = None
        self._coming: Beside | None = None

    def at(self, step: int, find: Callable[[Any], Any], rows: Any) -> Any:
        """The change to apply in a step.

        step: of the run.
        find: decomposes rows.
        rows: those of now.
        """
        if self._steps == 1 and not self._late:
            return find(rows)
        if self._coming is not None:
            self._change, self._coming = self._coming.found(), None
        if self._begun_at is None:
            self._change, self._begun_at = find(rows), step
        elif step - self._begun_at >= self._steps:
            self._begun_at = step
            if self._late:
                self._coming = Beside(find, rows)
            else:
                self._change = find(rows)
        return self._change
