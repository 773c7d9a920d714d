"""How one denoising batch is divided over the ranks of a replica, and how the pieces come together again.

Three axes, whose sizes multiply to the number of ranks:

    cfg      the two branches of classifier-free guidance;
    group    the images of the batch (a group's samples may lie on several ranks);
    context  the tokens of text and image (sequence parallelism).

Weights are whole on every rank. A model that runs on one process has one shard, `WHOLE`, whose operations are free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis as a rank sees it. size 1: nothing is divided."""

    size: int = 1
    rank: int = 0
    process_group: Any = None

    def sizes(self, total: int) -> list[int]:
        """Lengths of the pieces of `total`, the longer ones first, as `Tensor.tensor_split` makes them."""
        each, longer = divmod(total, self.size)
        return [each + 1] * longer + [each] * (self.size - longer)

    def own(self, whole: Tensor, dim: int) -> Tensor:
        """This rank's piece."""
        return whole if self.size == 1 else torch.tensor_split(whole, self.size, dim)[self.rank]

    def gather(self, piece: Tensor, dim: int, total: int) -> Tensor:
        """The whole, of length `total` along `dim`, from the pieces of all ranks."""
        if self.size == 1:
            return piece
        sizes = self.sizes(total)
        missing = [0, 0] * (piece.dim() - dim - 1) + [0, max(sizes) - piece.shape[dim]]
        padded = pad(piece, missing).contiguous()
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=self.process_group)
        return torch.cat([part.narrow(dim, 0, size) for part, size in zip(parts, sizes, strict=True)], dim)

    def own_rows(self, whole: Tensor) -> Tensor:
        """This rank's rows of dimension 0; all ranks get as many, the last ones copies of the last row if need be."""
        if self.size == 1:
            return whole
        each = math.ceil(len(whole) / self.size)
        rows = torch.arange(self.rank * each, (self.rank + 1) * each, device=whole.device)
        return whole[rows.clamp_max(len(whole) - 1)]

    def gather_rows(self, piece: Tensor, total: int) -> Tensor:
        """The whole from the pieces that `own_rows` made of `total` rows."""
        return self.gather(piece, 0, self.size * len(piece))[:total]

    def sum(self, part: Tensor) -> Tensor:
        """Sum over the ranks, the same bits on each."""
        if self.size == 1:
            return part
        whole = part.clone()
        dist.all_reduce(whole, group=self.process_group)
        return whole


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A rank's place on the three axes, and on all of them together (`all`, for what is no part of denoising)."""

    cfg: Axis = field(default_factory=Axis)
    group: Axis = field(default_factory=Axis)
    context: Axis = field(default_factory=Axis)
    all: Axis = field(default_factory=Axis)

    def branches(self, count: int) -> Axis:
        """The axis over which `count` branches of a call lie: a single branch is whole on all ranks of the cfg axis."""
        return self.cfg if count == self.cfg.size else Axis()

    def own_images(self, rows: Tensor, branches: int) -> Tensor:
        """This rank's images of rows [branches * images, ...]."""
        if self.group.size == 1:
            return rows
        return torch.cat([self.group.own_rows(part) for part in torch.chunk(rows, branches)])

    def gather_images(self, rows: Tensor, branches: int, images: int) -> Tensor:
        """All images from the rows that `own_images` made."""
        if self.group.size == 1:
            return rows
        return torch.cat([self.group.gather_rows(part, images) for part in torch.chunk(rows, branches)])

    def own_batch(self, rows: Tensor, branches: int) -> Tensor:
        """This rank's rows of a whole call, [branches * images, ...]."""
        axis = self.branches(branches)
        return self.own_images(axis.own(rows, 0), branches // axis.size)

    def gather_batch(self, rows: Tensor, branches: int, images: int) -> Tensor:
        """The rows of a whole call from the rows of all ranks."""
        axis = self.branches(branches)
        return axis.gather(self.gather_images(rows, branches // axis.size, images), 0, branches * images)


WHOLE = Shards()
