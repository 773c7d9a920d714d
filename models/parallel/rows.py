"""Calls a transformer with this rank's rows of the batch only, and returns the rows of all ranks."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import Tensor, nn

from models.errors import ModelError
from models.interventions.clock import Clock


class RowHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Divides what has one entry per row: tensors [rows, ...] and lists of that length.

    Registered before the hook that makes the clock tick, so that it runs after it.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            raise ModelError("the pipeline gives its transformer positional arguments, which cannot be divided")
        return (), {name: self._own(name, value) for name, value in kwargs.items()}

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        clock = self.clock
        return (clock.shards.gather_batch(output[0], clock.branches, clock.images), *output[1:])

    def _own(self, name: str, value: Any) -> Any:
        clock, rows = self.clock, self.clock.branches * self.clock.images
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows:
            shared = value.dim() == 2 and name.endswith("_ids")  # positions [tokens, 3], the same for all rows
            return value if shared else clock.shards.own_batch(value, clock.branches)
        if isinstance(value, list) and len(value) == rows:
            return [value[row] for row in clock.shards.own_batch(torch.arange(rows), clock.branches).tolist()]
        return value
