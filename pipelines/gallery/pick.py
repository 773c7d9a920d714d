"""Which prompts a gallery shows: an even, repeatable sample over the rarities, found in one pass over the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

from pipelines.plan.files import PlannedShard
from pipelines.summary.tally import rarity_rank


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A prompt to show. shard, file, row_group: where its groups are planned."""

    prompt_id: str
    rarity: str | None
    shard: int
    file: str
    row_group: int

    @property
    def lot(self) -> str:
        """Where the prompt stands in the draw: a hash, so that a sample does not depend on the order of the plan."""
        return hashlib.sha256(self.prompt_id.encode()).hexdigest()


def pick_prompts(plan: Iterable[PlannedShard], limit: int) -> list[Pick]:
    """At most `limit` prompts: the rarities take turns, the rarest first, each in the order of its lots.

    The plan holds a prompt's groups next to each other; of a prompt on the border of two shards the first part counts.
    """
    drawn: dict[str | None, list[Pick]] = {}
    for pick in _prompts(plan):
        lots = drawn.setdefault(pick.rarity, [])
        lots.append(pick)
        if len(lots) >= 2 * limit + 100:
            _keep_first(lots, limit)
    for lots in drawn.values():
        _keep_first(lots, limit)
    by_rarity = [drawn[rarity] for rarity in sorted(drawn, key=_rarest_first)]
    turns = zip_longest(*by_rarity)
    return [pick for turn in turns for pick in turn if pick is not None][:limit]


def _prompts(plan: Iterable[PlannedShard]) -> Iterator[Pick]:
    last = None
    for part in plan:
        ids = cast("list[str]", part.groups["prompt_id"].to_pylist())
        rarities = part.groups["rarity"].to_pylist()
        for prompt_id, rarity in zip(ids, rarities, strict=True):
            if prompt_id != last:
                yield Pick(
                    prompt_id=prompt_id, rarity=rarity, shard=part.shard, file=part.file, row_group=part.row_group
                )
            last = prompt_id


def _keep_first(lots: list[Pick], limit: int) -> None:
    """The first `limit` lots. An extension of the run plans further groups of a prompt in a later shard."""
    first = {pick.prompt_id: pick for pick in sorted(lots, key=lambda pick: pick.shard, reverse=True)}
    lots[:] = sorted(first.values(), key=lambda pick: pick.lot)[:limit]


def _rarest_first(rarity: str | None) -> tuple[int, int, str]:
    rank, word = rarity_rank(rarity)
    return (rarity is None, -rank, word)
