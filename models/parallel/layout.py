"""Which work of a denoising batch goes to which rank. Importable without torch, so that a config can be checked."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ModelError
from models.spec import Parallelism


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes of the axes."""

    cfg: int = 1
    group: int = 1
    context: int = 1

    @property
    def ranks(self) -> int:
        return self.cfg * self.group * self.context


ONE_RANK = Layout()


def layout(parallelism: Parallelism, ranks: int, *, images: int, guided: bool) -> Layout:
    """The layout of a mode on `ranks` ranks.

    images: images of a denoising batch; guided: does classifier-free guidance run two branches? "cfg" needs an even
    number of ranks and shares the images of a branch among the ranks beyond two. "auto" takes what moves the fewest
    bytes: "group" where every rank gets as many images, else "cfg" where that divides evenly, else "context".

    Raises:
        ModelError: the mode does not divide into so many ranks.
    """
    if parallelism == "auto":
        pairs, odd = divmod(ranks, 2)
        if images % ranks == 0:
            return Layout(group=ranks)
        if guided and not odd and images % pairs == 0:
            return Layout(cfg=2, group=pairs)
        if guided and not odd:
            return Layout(cfg=2, context=pairs)
        return Layout(context=ranks)
    if parallelism == "cfg":
        if ranks % 2:
            raise ModelError(f"parallelism 'cfg' has two branches, which {ranks} ranks cannot share: use 2, 4, 6...")
        return Layout(cfg=2, group=ranks // 2)
    return Layout(group=ranks) if parallelism == "group" else Layout(context=ranks)
