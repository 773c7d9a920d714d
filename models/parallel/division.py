"""Which work of a denoising batch goes to which rank. Importable without torch, so that a config can be checked."""

from __future__ import annotations

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


UNDIVIDED = Division()


def division(parallelism: Parallelism, ranks: int, *, images: int, guided: bool) -> Division:
    """The division of a mode on `ranks` ranks.

    images: images of a denoising batch; guided: does classifier-free guidance run two branches? "cfg" needs an even
    number of ranks and shares the images of a branch among the ranks beyond two. "auto" takes what moves the fewest
    bytes: "group" where every rank gets as many images, else "cfg" where that divides evenly, else "context".

    Raises:
        ModelError: the mode does not divide into so many ranks.
    """
    if parallelism == "auto":
        pairs, odd = divmod(ranks, 2)
        if images % ranks == 0:
            return Division(group=ranks)
        if guided and not odd and images % pairs == 0:
            return Division(cfg=2, group=pairs)
        if guided and not odd:
            return Division(cfg=2, context=pairs)
        return Division(context=ranks)
    if parallelism == "cfg":
        if ranks % 2:
            raise ModelError(f"parallelism 'cfg' has two branches, which {ranks} ranks cannot share: use 2, 4, 6...")
        return Division(cfg=2, group=ranks // 2)
    return Division(group=ranks) if parallelism == "group" else Division(context=ranks)
