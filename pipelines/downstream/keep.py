"""Which pictures of a pool a source keeps, and what it spends: at equal numbers, or at equal cost.

Array names: C concepts, P pictures of each, in groups that are drawn together; M real pictures, D values of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.alike import repeats
from models.covariance import matching
from pipelines.downstream.config import Basis, Choose, Judge
from pipelines.downstream.pool import Floats, Pool

Picks = NDArray[np.int64]
"""Numbers of pictures of a concept."""

Mask = NDArray[np.bool_]

_ABOVE_ANY = 10.0
"""More than any cosine or margin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a source keeps of each concept."""

    picks: list[Picks]
    """One for each concept."""
    passes: float
    """What it spends in all: rows of the transformer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keeper:
    """How a source keeps pictures."""

    judge: Judge
    """As in `config.Source`."""
    choose: Choose
    """As in `config.Source`."""
    least_score: float
    """What the judge "score" accepts."""
    similarity: float
    """Cosine from which a picture repeats one before."""
    reference_MD: Floats
    """Vectors of real pictures, each less the mean of its concept."""
    group: int
    """Pictures that are drawn together."""

    def keep(self, pool: Pool, basis: Basis, each: int, budget: float) -> Kept:
        """What is kept on a basis; arguments as for the two methods below."""
        return self.equal_numbers(pool, each) if basis == "equal numbers" else self.equal_cost(pool, each, budget)

    def equal_numbers(self, pool: Pool, each: int) -> Kept:
        """`each` pictures of every concept, which is drawn until there are enough; where the pool has too few that are
        good, the best of the others fill up.

        pool: what may be drawn.
        each: 1 or more, at most what the pool has.
        """
        picks, passes = [], 0.0
        for concept in range(len(pool.score_CP)):
            accepted_P = self._accepted(pool, concept)
            found = self._chosen(pool, concept, self._good(pool, concept, accepted_P), each)
            drawn = len(accepted_P)
            if len(found) < each:  # repeats first, then what the judge refuses, by its value
                value_P = self._value(pool, concept) + _ABOVE_ANY * accepted_P
                value_P[found] = -np.inf
                found = np.concatenate([found, np.argsort(-value_P, kind="stable")[: each - len(found)]])
            elif self.choose != "covariance":
                drawn = self._groups(int(found[-1]) + 1) * self.group
            picks.append(found)
            passes += float(pool.passes_P[:drawn].sum())
        return Kept(picks=picks, passes=passes)

    def equal_cost(self, pool: Pool, each: int, budget: float) -> Kept:
        """All good pictures among those that the budget pays for; by covariance at most `each` of a concept.

        pool: what may be drawn, at most.
        each: as for `equal_numbers`.
        budget: rows of the transformer for all concepts.
        """
        good_CP = np.stack([self._good(pool, at, self._accepted(pool, at)) for at in range(len(pool.score_CP))])
        drawn_C = self._drawn(pool, good_CP, budget)
        most = each if self.choose == "covariance" else good_CP.shape[1]
        picks = []
        for concept, drawn in enumerate(drawn_C):
            good_CP[concept, drawn:] = False
            picks.append(self._chosen(pool, concept, good_CP[concept], most))
        return Kept(picks=picks, passes=float(sum(pool.passes_P[:drawn].sum() for drawn in drawn_C)))

    def _accepted(self, pool: Pool, concept: int) -> Mask:
        value_P = self._value(pool, concept)
        least = {"none": -np.inf, "score": self.least_score, "margin": 0.0}[self.judge]
        accepted_P: Mask = value_P >= least
        return accepted_P

    def _value(self, pool: Pool, concept: int) -> Floats:
        value_P: Floats = (pool.margin_CP if self.judge == "margin" else pool.score_CP)[concept]
        return value_P

    def _good(self, pool: Pool, concept: int, accepted_P: Mask) -> Mask:
        """What may be kept before anything else: what is accepted, and for quotas repeats none before."""
        if self.choose != "quota":
            return accepted_P
        good_P, numbers = np.zeros_like(accepted_P), np.flatnonzero(accepted_P)
        first, _ = repeats(pool.vectors_CPD[concept, numbers], self.similarity)
        good_P[numbers[first < 0]] = True
        return good_P

    def _chosen(self, pool: Pool, concept: int, good_P: Mask, most: int) -> Picks:
        numbers = np.flatnonzero(good_P)
        if self.choose == "covariance" and len(numbers) > most:
            return numbers[matching(pool.vectors_CPD[concept, numbers], self.reference_MD, most)]
        return numbers[:most]

    def _groups(self, pictures: int) -> int:
        return -(-pictures // self.group)

    def _drawn(self, pool: Pool, good_CP: Mask, budget: float) -> list[int]:
        """How many pictures of each concept are drawn: in turn; by quotas first where the fewest are good."""
        concepts, pictures = good_CP.shape
        group_of_P = np.arange(pictures) // self.group
        cost_G = np.bincount(group_of_P, pool.passes_P)
        gain_CG = np.stack([np.bincount(group_of_P, good_P) for good_P in good_CP])
        groups_C, found_C = np.zeros(concepts, np.int64), np.zeros(concepts)
        while (open_C := groups_C < len(cost_G)).any():
            first_C = found_C if self.choose == "quota" else groups_C
            order = np.lexsort((groups_C, np.where(open_C, first_C, np.inf)))
            concept = int(order[0])
            budget -= cost_G[groups_C[concept]]
            if budget < -1e-6:
                break
            found_C[concept] += gain_CG[concept, groups_C[concept]]
            groups_C[concept] += 1
        return [min(int(groups) * self.group, pictures) for groups in groups_C]
