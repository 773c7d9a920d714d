"""Which of the tried settings is chosen, and which are on the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.statistics import Floats, beaten, bootstrap

Prefer = Literal["diversity", "match"]
"""What is chosen by among the settings that are as good as the best in the other."""

RULES: dict[Prefer, str] = {
    "diversity": "Chosen is the setting with the most diverse groups among those that match their prompts as well as "
    "the best",
    "match": "Chosen is the setting that matches its prompts best among those whose groups are as diverse as the most "
    "diverse",
}
HOW = (
    "as good is where the interval of the paired difference to the best one is not wholly below 0; no picture may have "
    "blown up, and of equals the weakest is taken."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A setting, with what its pictures of the same prompts were like."""

    match: Sequence[Floats]
    """One array per prompt with a value per image: how well it shows what the prompt says."""
    diversity: Floats
    """One value per prompt: how different the images of its group are."""
    blew_up: int
    """Groups without pictures."""

    @property
    def mean_match(self) -> float:
        """Over all images."""
        return _mean(self.match)

    @property
    def mean_diversity(self) -> float:
        """Over all groups."""
        return float(self.diversity.mean())


def front(tried: Sequence[Tried]) -> list[bool]:
    """For each setting whether no other one is at least as good in both means, and better in one.

    tried: the settings.
    """
    means = [None if one.blew_up else (one.mean_match, one.mean_diversity) for one in tried]
    known = [mean for mean in means if mean is not None]
    return [mean is not None and not beaten(mean, known) for mean in means]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A chosen setting, and what it was chosen among."""

    number: int
    """Of the chosen one."""
    best: int
    """Number of the best one by the measure that goes first."""
    as_good: tuple[int, ...]
    """Numbers of those that are as good as it, it too."""


def choose(tried: Sequence[Tried], prefer: Prefer = "diversity") -> int | None:
    """The number of the chosen setting, by `RULES`; None where pictures blew up in every setting; arguments as of
    `weigh`."""
    choice = weigh(tried, prefer)
    return None if choice is None else choice.number


def weigh(tried: Sequence[Tried], prefer: Prefer) -> Choice | None:
    """The chosen setting, by `RULES`; None where pictures blew up in every setting.

    tried: the settings, weaker ones first.
    prefer: by which rule.
    """
    whole = [number for number, one in enumerate(tried) if not one.blew_up]
    if not whole:
        return None
    match = {number: tried[number].match for number in whole}
    diversity = {number: list(tried[number].diversity[:, None]) for number in whole}
    first, then = (match, diversity) if prefer == "diversity" else (diversity, match)
    best = max(whole, key=lambda number: _mean(first[number]))
    as_good = [number for number in whole if number == best or _no_worse(first[number], first[best])]
    number = max(as_good, key=lambda number: _mean(then[number]))
    return Choice(number=number, best=best, as_good=tuple(as_good))


def _no_worse(ours: Sequence[Floats], best: Sequence[Floats]) -> bool:
    return bootstrap([mine - other for mine, other in zip(ours, best, strict=True)]).high >= 0.0


def _mean(of_prompts: Sequence[Floats]) -> float:
    return float(np.concatenate(list(of_prompts)).mean())
