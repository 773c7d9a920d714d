"""Calls a transformer with this rank's rows of the batch only, and returns the rows of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import Tensor, nn

from models.denoising import Denoising
from models.errors import ModelError
from models.interventions.base import CallEdit


class RowHook(ModelHook):  # type: ignore[misc] # diffusers is read as untyped
    """Divides the arguments with one entry per row: tensors [rows, ...] and lists of that length.

    Registered before the hook that begins a call, so that it runs after it. Where guidance makes two calls, each rank
    of the cfg axis makes one, returns an empty placeholder for the other, and the outputs are exchanged after the
    second: pipelines read them only then. In the first step both ranks make both calls: interventions find the
    direction of the prompt in them, and this hook the shape of the placeholder. They also do in every step in which an
    intervention changes predictions: it reads each one at the end of its call.

    run: the denoising whose rows are divided.
    edits: the changes around its calls.
    """

    def __init__(self, run: Denoising, edits: Sequence[CallEdit]) -> None:
        super().__init__()
        self.run = run
        self.after = [edit for edit in edits if edit.after is not None]
        self.placeholder = torch.empty(0)

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise ModelError("the pipeline gives its transformer positional arguments, which cannot be divided")
        run, count = self.run, len(self.run.branches)
        own = {name: self._own(name, value) for name, value in kwargs.items()}
        if not self._makes_one_of_two_calls():
            output = self.fn_ref.original_forward(**own)
            whole = run.shards.gather_batch(output[0], count, run.images)
            self.placeholder = torch.empty_like(whole)
            return (whole, *output[1:])
        cfg, made_by = run.shards.cfg, 1 if run.branches == ("cond",) else 0
        whole = torch.empty_like(self.placeholder)
        if cfg.rank == made_by:
            whole = run.shards.gather_images(self.fn_ref.original_forward(**own)[0], 1, run.images)
        if made_by == 1:
            self.placeholder = whole
            return (whole,)
        negative, positive = cfg.gather(whole if cfg.rank == 0 else self.placeholder, 0, 2 * run.images).chunk(2)
        self.placeholder.copy_(positive)
        return (negative,)

    def _makes_one_of_two_calls(self) -> bool:
        run = self.run
        if run.step == 0 or any(run.step in edit.steps for edit in self.after):
            return False
        return run.shards.cfg.size > 1 and run.guided and run.family.layout == "two_calls"

    def _own(self, name: str, value: Any) -> Any:
        run = self.run
        count = len(run.branches)
        rows = count * run.images
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows:
            shared = value.dim() == 2 and name.endswith("_ids")  # positions [tokens, 3], the same for all rows
            return value if shared else run.shards.own_batch(value, count)
        if isinstance(value, list) and len(value) == rows:
            return [value[row] for row in run.shards.own_batch(torch.arange(rows), count).tolist()]
        return value
