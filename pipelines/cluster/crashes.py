"""Which groups were being made when a worker process died: kept outside the workers, so that it outlives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

ALONE_AFTER = 2
"""Deaths of a worker after which the groups that it made run alone. One death is nobody's fault: spot machines and
their workers come and go, and a group that is made in the same batch again has the same pixels."""
GIVEN_UP_AFTER = 3
"""Deaths after which a group is a failure."""


class Crashes:
    """Groups are named by shard and index in the shard."""

    def __init__(self) -> None:
        self._in_work: dict[int, tuple[int, ...]] = {}
        self._deaths: dict[int, Counter[int]] = {}

    def attempt(self, shard: int) -> dict[int, int]:
        """A worker takes up a shard. Returns how often each of its groups was in work when a worker died."""
        deaths = self._deaths.setdefault(shard, Counter())
        deaths.update(self._in_work.pop(shard, ()))
        return dict(deaths)

    def begin(self, shard: int, groups: Iterable[int]) -> None:
        """These groups are in work now, and no others of the shard."""
        self._in_work[shard] = tuple(groups)

    def end(self, shard: int) -> None:
        self._in_work.pop(shard, None)
        self._deaths.pop(shard, None)


def isolated(packs: Sequence[Sequence[int]], deaths: dict[int, int]) -> tuple[list[list[int]], list[int]]:
    """The packs without groups that are given up, and those groups; repeat suspects run alone."""
    lost = [index for pack in packs for index in pack if deaths.get(index, 0) >= GIVEN_UP_AFTER]
    result: list[list[int]] = []
    for pack in packs:
        if max((deaths.get(index, 0) for index in pack), default=0) >= ALONE_AFTER:
            result += [[index] for index in pack if index not in lost]
        else:
            result.append(list(pack))
    return result, lost
