"""The measures of an arm, prompt by prompt and seed by seed, and their means with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.embedded import measures
from models.embedded.oracle import Reading
from pipelines.evaluation.arm_files import Made
from pipelines.evaluation.prompts import OPEN, RARITIES, WIDE, PromptSet

Floats = NDArray[np.float64]
Measure = Callable[[str, Reading], Floats]


@dataclass(frozen=True, kw_only=True)
class Values:
    """A measure of several prompts, made with the same seeds."""

    concepts: tuple[str, ...]
    """The concept of each prompt."""
    of_seed: tuple[tuple[Floats, ...], ...]
    """For each seed the values of each prompt: one, or one for each picture."""

    def clusters(self) -> list[Floats]:
        """The values of each concept, over all its prompts and seeds: the unit that intervals resample."""
        parts: dict[str, list[Floats]] = {}
        for values in self.of_seed:
            for concept, own in zip(self.concepts, values, strict=True):
                parts.setdefault(concept, []).append(own)
        return [np.concatenate(own) for own in parts.values()]

    def mean_of_each_seed(self) -> list[float]:
        """The mean over all values of a seed."""
        return [float(np.concatenate(values).mean()) for values in self.of_seed]

    def __sub__(self, other: Values) -> Values:
        """The differences, value by value, of two arms on the same prompts and seeds."""
        pairs = zip(self.of_seed, other.of_seed, strict=True)
        apart = tuple(tuple(a - b for a, b in zip(own, base, strict=True)) for own, base in pairs)
        return Values(concepts=self.concepts, of_seed=apart)


def _one(value: float) -> Floats:
    return np.array([value])


MEASURES: Mapping[str, Measure] = {
    "right": measures.success,
    "all seeds right": lambda prompt, reading: _one(measures.success(prompt, reading).min()),
    "any seed right": lambda prompt, reading: _one(measures.success(prompt, reading).max()),
    "pair_vendi": lambda _, reading: _one(measures.pair_vendi(reading)),
    "distinct_values": lambda prompt, reading: _one(measures.distinct_values(prompt, reading)),
    "distinct_right_values": lambda prompt, reading: _one(measures.distinct_right_values(prompt, reading)),
    "distinct_right": lambda prompt, reading: _one(measures.distinct_right(prompt, reading)),
    "confidence": measures.confidence,
}
"""Name -> the values of a prompt's pictures."""


def values_of(sets: Sequence[PromptSet], made: Mapping[str, Sequence[Made]]) -> dict[str, Values]:
    """The values by name, such as "right: rare": of each set, of each rarity over single things and relations, and of
    open prompts in groups of either size.

    sets: the sets of prompts.
    made: name of a set -> what was made of it with each seed.
    """
    joined: dict[str, list[PromptSet]] = {rarity: [one for one in sets if one.rarity == rarity] for rarity in RARITIES}
    of_open = {OPEN if one.kind != WIDE else WIDE: [one] for one in sets if one.rarity == OPEN}
    every = {**joined, **of_open, **{one.name: [one] for one in sets if one.rarity != OPEN}}
    return {
        f"{measure}: {name}": _values(take, own, made)
        for name, own in every.items()
        if own
        for measure, take in MEASURES.items()
    }


def _values(take: Measure, sets: Sequence[PromptSet], made: Mapping[str, Sequence[Made]]) -> Values:
    seeds = range(len(made[sets[0].name]))
    return Values(
        concepts=tuple(concept for one in sets for concept in one.concepts),
        of_seed=tuple(
            tuple(
                take(prompt, reading.first(one.images))
                for one in sets
                for prompt, reading in zip(one.prompts, made[one.name][seed].readings, strict=True)
            )
            for seed in seeds
        ),
    )
