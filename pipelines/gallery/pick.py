"""Chooses the prompts of a gallery: a repeatable sample, even over the rarities, in one pass over the plan."""

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
    """A prompt to show."""

    prompt_id: str
    """Its id."""
    rarity: str | None
    """As in the prompt file."""
    shard: int
    """The shard that holds its groups."""
    file: str
    """The plan file of the shard."""
    row_group: int
    """The row group of the shard in that file."""

    @property
    def order(self) -> str:
        """Sort key of the sample: a hash, so that the sample does not depend on the order of the plan."""
        return hashlib.sha256(self.prompt_id.encode()).hexdigest()


def pick_prompts(plan: Iterable[PlannedShard], limit: int) -> list[Pick]:
    """A sample of prompts that takes one prompt of each rarity in turn, the rarest first.

    plan: all shards. It holds a prompt's groups next to each other; of a prompt in two shards the first part counts.
    limit: most prompts.
    """
    sample: dict[str | None, list[Pick]] = {}
    for pick in _prompts(plan):
        picks = sample.setdefault(pick.rarity, [])
        picks.append(pick)
        if len(picks) >= 2 * limit + 100:
            _keep_first(picks, limit)
    for picks in sample.values():
        _keep_first(picks, limit)
    by_rarity = [sample[rarity] for rarity in sorted(sample, key=_rarest_first)]
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


def _keep_first(picks: list[Pick], limit: int) -> None:
    """Keep the first `limit` prompts. An extension of the run plans further groups of a prompt in a later shard."""
    first = {pick.prompt_id: pick for pick in sorted(picks, key=lambda pick: pick.shard, reverse=True)}
    picks[:] = sorted(first.values(), key=lambda pick: pick.order)[:limit]


def _rarest_first(rarity: str | None) -> tuple[int, int, str]:
    rank, word = rarity_rank(rarity)
    return (rarity is None, -rank, word)
