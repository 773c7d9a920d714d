"""What edits did to the text of a run: a few numbers of every edit, which stay on the device until the run ends.

The hooks measure around every change of text tokens, so an intervention of anybody's is measured without a line of its
own. The host waits once, at the end; on several ranks each has a part of the numbers, which are summed there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.denoising import Denoising
from models.families.base import Branch

Floats = NDArray[np.float64]

Change = Callable[[Tensor], Tensor]

Measure = Callable[[Denoising, Tensor, Tensor], Tensor]
"""The numbers of an edit, float32 [R, k], from the text before and after it, float [R, n, D]. Where ranks divide the
tokens they are sums over the n tokens of this one. The first two are those of `displacement`."""

BRANCHES: tuple[Branch, ...] = ("cond", "uncond")
"""Order of the branches in the numbers of a run."""


def displacement(run: Denoising, before_RND: Tensor, after_RND: Tensor) -> Tensor:
    """|x' - x|^2 and |x|^2 over the tokens that an edit has moved, float32 [R, 2].

    Tokens that stay as they are do not count: padding, templates and the other branch would dilute the rest.
    """
    length_2RN = torch.stack([_length(after_RND - before_RND), _length(before_RND)])
    counted_2RN = torch.where(length_2RN[0] > 0, length_2RN, 0.0)  # not NaN, which a token that is not read may hold
    return counted_2RN.square().sum(-1).mT


def _length(tokens_RND: Tensor) -> Tensor:
    length_RN: Tensor = torch.linalg.vector_norm(tokens_RND, dim=-1, dtype=torch.float32)
    return length_RN


def mean_displacement(numbers: Floats) -> NDArray[np.float32]:
    """How far each image's text was moved, float32 [B]: the mean of |x' - x| / |x| over the edits that moved it, which
    may be any of the blocks, steps and branches; 0 where none did.

    numbers: float64 [blocks, steps, branches, B, k], as `TextRecord.read` gives them.
    """
    moved, whole = numbers[..., 0], numbers[..., 1]
    made = moved > 0
    share = np.sqrt(np.divide(moved, whole, out=np.zeros_like(moved), where=made))
    result: NDArray[np.float32] = (share.sum((0, 1, 2)) / np.maximum(made.sum((0, 1, 2)), 1)).astype(np.float32)
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """The numbers of one edit, which was made here."""

    name: str
    block: int
    step: int
    branches: tuple[Branch, ...]
    """Of the rows."""
    divided: bool
    """Whether the rows hold a part of the tokens."""
    numbers_RK: Tensor


class TextRecord:
    """The numbers of all edits of the text in one run.

    run: the denoising.
    measure: gives the numbers of one edit.
    """

    def __init__(self, run: Denoising, measure: Measure = displacement) -> None:
        self._run, self._measure = run, measure
        self._names: dict[str, None] = {}
        self._entries: list[_Entry] = []

    def around(self, name: str, block: int, change: Change) -> Change:
        """The same change, measured.

        name: of the intervention that makes it.
        block: in which.
        change: the change.
        """
        self._names[name] = None

        def measured(before_RND: Tensor) -> Tensor:
            after_RND = change(before_RND)
            if after_RND is not before_RND:  # it only looks
                self._note(name, block, before_RND, after_RND)
            return after_RND

        return measured

    def _note(self, name: str, block: int, before_RND: Tensor, after_RND: Tensor) -> None:
        run = self._run
        entry = _Entry(
            name=name,
            block=block,
            step=run.step,
            branches=run.own_branches,
            divided=before_RND.shape[1] != run.tokens[run.branches[0]].length,
            numbers_RK=self._measure(run, before_RND, after_RND),
        )
        self._entries.append(entry)

    def read(self) -> Mapping[str, Floats]:
        """Name of each intervention with edits of text -> the numbers of its edits, float64 [blocks, steps, branches,
        images, k], 0 where it made none. On several ranks, every one must call it. Synchronises with the device."""
        run, shards = self._run, self._run.shards
        shape = (run.blocks, run.steps, len(BRANCHES), run.images)
        read: Sequence[Floats] = ()
        if self._entries:
            read = list(torch.stack([entry.numbers_RK for entry in self._entries]).cpu().double().numpy())
        found = {name: np.zeros((*shape, read[0].shape[-1] if read else 2)) for name in self._names}
        first = shards.group.rank * -(-run.images // shards.group.size)
        for entry, numbers_RK in zip(self._entries, read, strict=True):
            if shards.context.rank and not entry.divided:
                continue  # the same tokens as on the first rank
            for branch, own_IK in zip(entry.branches, np.split(numbers_RK, len(entry.branches)), strict=True):
                at = BRANCHES.index(branch)
                if shards.cfg.size > 1 and shards.cfg.rank != (branch == "cond"):
                    continue  # the other rank has made this call as well
                last = min(first + len(own_IK), run.images)  # beyond, rows are copies of the last image
                found[entry.name][entry.block, entry.step, at, first:last] += own_IK[: max(0, last - first)]
        if shards.all.size > 1:
            return {name: shards.all.sum(torch.from_numpy(one)).numpy() for name, one in found.items()}
        return found


def of_group(numbers: Mapping[str, Any], first: int, samples: int) -> dict[str, Floats]:
    """The numbers of the images of one group.

    numbers: as `TextRecord.read` gives them.
    first: number of its first image.
    samples: how many it has.
    """
    return {name: of_all[:, :, :, first : first + samples] for name, of_all in numbers.items()}
