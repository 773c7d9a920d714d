"""More numbers of an edit: the length of the vectors that repulsion acts on, and how alike those of a group are."""

from __future__ import annotations

import torch
from torch import Tensor

from models.denoising import Denoising
from models.errors import ModelError
from models.hooks.record import displacement
from models.parallel.shards import WHOLE

SQUARE, BEFORE, AFTER = 2, 3, 4
"""Places in the numbers of `likeness`, after those of `displacement`."""


def likeness(run: Denoising, before_RND: Tensor, after_RND: Tensor) -> Tensor:
    """A `Measure`, float32 [R, 5]: the numbers of `displacement`; |c|^2 before the edit, with c the vector of all
    tokens of the sample that the model reads; and the mean cosine of c to those of the group's other samples, before
    and after (1 for a group of one).

    Raises:
        ModelError: when ranks share the batch: cosines need whole groups and texts.
    """
    if run.shards is not WHOLE:
        raise ModelError("how alike a group's texts are can be measured in one process only: give each model one GPU")
    read_RN1 = torch.cat([run.tokens[branch].attended_BN1 for branch in run.branches])
    square_R, cosine_R = _square_and_cosine(run, before_RND, read_RN1)
    numbers = [square_R, cosine_R, _square_and_cosine(run, after_RND, read_RN1)[1]]
    return torch.cat([displacement(run, before_RND, after_RND), torch.stack(numbers, dim=-1)], dim=-1)


def _square_and_cosine(run: Denoising, text_RND: Tensor, read_RN1: Tensor) -> tuple[Tensor, Tensor]:
    c_GBX = torch.where(read_RN1, text_RND.float(), 0.0).reshape(-1, run.samples, text_RND[0].numel())
    square_GB1 = c_GBX.square().sum(-1, keepdim=True)
    if run.samples == 1:
        return square_GB1.flatten(), torch.ones_like(square_GB1).flatten()
    unit_GBX = c_GBX / square_GB1.sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    to_all_GB = (unit_GBX * unit_GBX.sum(1, keepdim=True)).sum(-1)
    return square_GB1.flatten(), ((to_all_GB - 1.0) / (run.samples - 1)).flatten()
