"""Which work of a denoising batch goes to which rank. Importable without torch, so that a config can be checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import ModelError
from models.spec import Parallelism


@dataclass(frozen=True, kw_only=True)
class Division:
    """Sizes of the axes."""

    cfg: int = 1
    group: int = 1
    context: int = 1

    @property
    def ranks(self) -> int:
        return self.cfg * self.group * self.context

    def __str__(self) -> str:
        parts = [(name, getattr(self, name)) for name in ("cfg", "group", "context")]
        return " x ".join(f"{name} {size}" for name, size in parts if size > 1) or "undivided"


UNDIVIDED = Division()


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a replica, and what decides how they share its batches."""

    count: int = 1
    """1 is this process alone."""
    parallelism: Parallelism = "auto"
    """The mode, as for `division`."""
    images: int = 1
    """Images of a denoising batch: its groups times the images of each."""
    guided: bool = True
    """Is the guidance scale above 1? A family with distilled guidance runs one branch all the same."""
    threads: int = 0
    """CPU threads of each process's maths; 0 leaves torch's own choice."""
    timeout_s: float = 600.0
    """Seconds without a denoising step after which the processes count as hung (loading takes as long as it likes)."""


def division(parallelism: Parallelism, ranks: int, *, images: int, guided: bool) -> Division:
    """The division of a mode on `ranks` ranks.

    images: images of a denoising batch; guided: does classifier-free guidance run two branches? "cfg" needs an even
    number of ranks and shares the images of a branch among the ranks beyond two. "auto" takes what moves the fewest
    bytes: images as far as they divide evenly, then branches, then tokens.

    Raises:
        ModelError: the mode does not divide into so many ranks.
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
