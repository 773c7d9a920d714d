"""How the work of a denoising batch is divided over ranks. Importable without torch, so that configs can be checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import ModelError
from models.spec import Parallelism


@dataclass(frozen=True, kw_only=True)
class Division:
    """Number of ranks along each axis; see `models.parallel.shards`."""

    cfg: int = 1
    """1 or 2: the branches of classifier-free guidance."""
    group: int = 1
    """The images of the batch."""
    context: int = 1
    """The tokens of text and image."""

    @property
    def ranks(self) -> int:
        """Number of ranks in all."""
        return self.cfg * self.group * self.context

    def __str__(self) -> str:
        parts = [(name, getattr(self, name)) for name in ("cfg", "group", "context")]
        return " x ".join(f"{name} {size}" for name, size in parts if size > 1) or "undivided"


UNDIVIDED = Division()


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a replica, and how they share its batches."""

    count: int = 1
    """Number of processes; 1 is this process alone."""
    parallelism: Parallelism = "auto"
    """The mode, as for `division`."""
    images: int = 1
    """Images of a denoising batch: its groups times the images of each."""
    guided: bool = True
    """Whether the guidance scale is above 1. A family with distilled guidance runs one branch nevertheless."""
    threads: int = 0
    """CPU threads of torch in each process; 0 leaves torch's own choice."""
    plugins: tuple[str, ...] = ()
    """Modules that each process imports before it loads the model: they register interventions."""
    timeout_s: float = 600.0
    """Seconds without a denoising step after which the processes count as hung. Loading has no time limit."""


def division(parallelism: Parallelism, ranks: int, *, images: int, guided: bool) -> Division:
    """The division that a mode gives.

    "cfg" needs an even number of ranks and shares the images of a branch among the ranks beyond two. "auto" takes what
    moves the fewest bytes: images as far as they divide evenly, then branches, then tokens.

    parallelism: the mode.
    ranks: number of processes.
    images: images of a denoising batch.
    guided: whether classifier-free guidance runs two branches.

    Raises:
        ModelError: when the mode cannot use so many ranks.
    """
    if parallelism == "group":
        return Division(group=ranks)
    if parallelism == "context":
        return Division(context=ranks)
    if parallelism == "cfg":
        if not guided:
            raise ModelError(
                "parallelism 'cfg' shares two branches, but there is one: the model's guidance is distilled, or "
                "sampling.guidance_scale is at most 1; use 'auto', 'group' or 'context'"
            )
        if ranks % 2:
            raise ModelError(f"parallelism 'cfg' has two branches, which {ranks} ranks cannot share: use 2, 4, 6...")
        return Division(cfg=2, group=ranks // 2)
    group = math.gcd(ranks, images)
    cfg = math.gcd(2, ranks // group) if guided else 1
    return Division(cfg=cfg, group=group, context=ranks // group // cfg)
