"""Divides the tensors of one denoising batch over the ranks of a replica, and gathers the pieces.

Three axes, whose sizes multiply to the number of ranks:

    cfg      the two branches of classifier-free guidance;
    group    the images of the batch (a group's samples may lie on several ranks);
    context  the tokens of text and image (sequence parallelism).

Weights are whole on every rank. A model that runs in one process has one shard, `WHOLE`, whose operations copy nothing.
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
    """One axis, and the place of this rank on it."""

    size: int = 1
    """Ranks along the axis; with 1 nothing is divided."""
    rank: int = 0
    """Place of this rank, from 0."""
    process_group: Any = None
    """torch's process group of the ranks along the axis; None where the size is 1."""

    def sizes(self, total: int) -> list[int]:
        """Lengths of the pieces of `total`, the longer ones first, as `Tensor.tensor_split` makes them."""
        each, longer = divmod(total, self.size)
        return [each + 1] * longer + [each] * (self.size - longer)

    def own(self, whole: Tensor, dim: int) -> Tensor:
        """This rank's piece of a tensor.

        whole: the same on all ranks of the axis.
        dim: the dimension that is divided.
        """
        return whole if self.size == 1 else torch.tensor_split(whole, self.size, dim)[self.rank]

    def gather(self, piece: Tensor, dim: int, total: int) -> Tensor:
        """The whole tensor from the pieces of all ranks, the inverse of `own`.

        piece: this rank's piece.
        dim: the dimension that is divided.
        total: length of the whole along it.
        """
        if self.size == 1:
            return piece
        sizes = self.sizes(total)
        missing = [0, 0] * (piece.dim() - dim - 1) + [0, max(sizes) - piece.shape[dim]]
        padded = pad(piece, missing).contiguous()
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=self.process_group)
        return torch.cat([part.narrow(dim, 0, size) for part, size in zip(parts, sizes, strict=True)], dim)

    def own_rows(self, whole: Tensor) -> Tensor:
        """This rank's rows (dimension 0): the same number on all ranks, filled up with copies of the last row."""
        if self.size == 1:
            return whole
        each = math.ceil(len(whole) / self.size)
        rows = torch.arange(self.rank * each, (self.rank + 1) * each, device=whole.device)
        return whole[rows.clamp_max(len(whole) - 1)]

    def gather_rows(self, piece: Tensor, total: int) -> Tensor:
        """All `total` rows from the pieces that `own_rows` made."""
        return self.gather(piece, 0, self.size * len(piece))[:total]

    def sum(self, part: Tensor) -> Tensor:
        """The sum over the ranks of a tensor of the same shape on each; the same bits on all ranks."""
        if self.size == 1:
            return part
        whole = part.clone()
        dist.all_reduce(whole, group=self.process_group)
        return whole


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A rank's place on the three axes."""

    cfg: Axis = field(default_factory=Axis)
    """The branches of classifier-free guidance."""
    group: Axis = field(default_factory=Axis)
    """The images of the batch."""
    context: Axis = field(default_factory=Axis)
    """The tokens of text and image."""
    all: Axis = field(default_factory=Axis)
    """All ranks in one axis, for work outside of denoising."""

    def branches(self, count: int) -> Axis:
        """The axis that divides `count` branches of a call: a single branch is whole on all ranks of the cfg axis."""
        return self.cfg if count == self.cfg.size else Axis()

    def own_images(self, rows: Tensor, branches: int) -> Tensor:
        """This rank's images.

        rows: [branches * images, ...].
        branches: number of branches in `rows`.
        """
        if self.group.size == 1:
            return rows
        return torch.cat([self.group.own_rows(part) for part in torch.chunk(rows, branches)])

    def gather_images(self, rows: Tensor, branches: int, images: int) -> Tensor:
        """All images from the rows that `own_images` made.

        rows: this rank's rows.
        branches: number of branches in `rows`.
        images: images of the whole batch.
        """
        if self.group.size == 1:
            return rows
        return torch.cat([self.group.gather_rows(part, images) for part in torch.chunk(rows, branches)])

    def own_batch(self, rows: Tensor, branches: int) -> Tensor:
        """This rank's rows of a call.

        rows: all rows of the call, [branches * images, ...].
        branches: number of branches in the call.
        """
        axis = self.branches(branches)
        return self.own_images(axis.own(rows, 0), branches // axis.size)

    def gather_batch(self, rows: Tensor, branches: int, images: int) -> Tensor:
        """All rows of a call from the rows of all ranks, the inverse of `own_batch`.

        rows: this rank's rows.
        branches: number of branches in the call.
        images: images of the whole batch.
        """
        axis = self.branches(branches)
        return axis.gather(self.gather_images(rows, branches // axis.size, images), 0, branches * images)


WHOLE = Shards()
