"""Records which groups a worker process was making when it died; kept outside the workers, so that it outlives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

ALONE_AFTER = 2
"""Deaths of workers after which the groups that they were making run alone. A single death proves nothing, as spot
machines come and go, and a group that is made in the same batch again has the same pixels."""

GIVEN_UP_AFTER = 3
"""Deaths of workers after which a group counts as failed."""


class Crashes:
    """Counts the deaths of workers for every group; a group is named by its shard and its index in the shard."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, ...]] = {}
        self._deaths: dict[int, Counter[int]] = {}

    def attempt(self, shard: int) -> dict[int, int]:
        """Record that a worker starts a shard; returns for its groups the deaths of workers that were making them.

        shard: number of the shard.
        """
        deaths = self._deaths.setdefault(shard, Counter())
        deaths.update(self._running.pop(shard, ()))
        return dict(deaths)

    def begin(self, shard: int, groups: Iterable[int]) -> None:
        """Record that a worker is making these groups now, and no others of the shard.

        shard: number of the shard.
        groups: indices in the shard.
        """
        self._running[shard] = tuple(groups)

    def end(self, shard: int) -> None:
        """Forget a shard that is done."""
        self._running.pop(shard, None)
        self._deaths.pop(shard, None)


def isolated(packs: Sequence[Sequence[int]], deaths: dict[int, int]) -> tuple[list[list[int]], list[int]]:
    """The packs without the groups that are given up, and those groups; repeat suspects run alone.

    packs: indices of groups that would share a batch.
    deaths: index of a group -> deaths of workers, as `Crashes.attempt` returns it.
    """
    lost = [index for pack in packs for index in pack if deaths.get(index, 0) >= GIVEN_UP_AFTER]
    result: list[list[int]] = []
    for pack in packs:
        if max((deaths.get(index, 0) for index in pack), default=0) >= ALONE_AFTER:
            result += [[index] for index in pack if index not in lost]
        else:
            result.append(list(pack))
    return result, lost
