"""report.json: what classifiers learn from each source, with 95 % intervals. Array names: S seeds, C concepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.coverage import coverage
from models.statistics import Estimate, bootstrap, crossed
from pipelines.downstream.concepts import PARTS, Concept
from pipelines.downstream.config import COVERAGE_K, Basis, Source
from pipelines.downstream.keep import Kept
from pipelines.downstream.pool import Floats, Pool

FILE = "report.json"

MADE = "tail and never seen"
"""Both parts of which pictures are made, together."""

MEASURED = (*PARTS, MADE)
"""The groups of concepts whose accuracy is reported."""

Shares = NDArray[np.float64]
"""float64 [S, C]: share of each concept's real test pictures that a classifier names rightly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What one source gave on one basis."""

    source: Source
    """The source."""
    basis: Basis
    """On which sources are comparable."""
    shares_SC: Shares
    """Of all concepts, head first."""
    pool: Pool | None
    """What could be drawn; None for a source without pictures."""
    kept: Kept | None
    """What was kept of it."""


@dataclass(frozen=True, kw_only=True)
class SourceResult:
    """A source, measured."""

    source: str
    """Its name."""
    settings: dict[str, Any]
    """Its arms, and how it keeps pictures."""
    pictures_each: float
    """Pictures that it gives of a tail or never seen concept, on average."""
    passes_each: float
    """Rows of the transformer that it spends on such a concept, on average."""
    right: Estimate | None
    """Share of its pictures that show their concept, as the oracle sees it; None where it gives none."""
    coverage: Estimate | None
    """Share of real pictures whose ball holds a made one of the same concept, over concepts; at equal numbers alone, as
    it grows with them."""
    density: Estimate | None
    """In how many balls of real pictures a made one lies, over k; as `coverage`."""
    accuracy: dict[str, Estimate]
    """Group of concepts -> share of real test pictures that are named rightly."""
    difference: dict[str, Estimate] | None
    """The same less that of the base, seed by seed and concept by concept; None for the base."""


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """The content of report.json."""

    name: str
    """Title."""
    model: str
    """Which model drew, with its revision."""
    base: str
    """The source that others are compared with."""
    settings: dict[str, Any]
    """Of the experiment: its tables `sampling`, `real`, `made`, `training` and `arms`."""
    concepts: dict[str, int]
    """Group of concepts -> how many there are."""
    least_score: float
    """What the judge "score" accepts."""
    compared: dict[str, tuple[SourceResult, ...]]
    """Basis -> the sources."""


def results(
    trained: Sequence[Trained], concepts: Sequence[Concept], reference: Pool, base: str
) -> dict[str, tuple[SourceResult, ...]]:
    """The sources on each basis, measured.

    trained: all of them.
    concepts: head first.
    reference: real pictures of the tail and never seen concepts.
    base: name of the source that the others are compared with.
    """
    of_base = {one.basis: one.shares_SC for one in trained if one.source.name == base}
    compared: dict[str, tuple[SourceResult, ...]] = {}
    for basis, base_SC in of_base.items():
        own = [one for one in trained if one.basis == basis]
        compared[basis] = tuple(_result(one, concepts, reference, base_SC, base) for one in own)
    return compared


def numbers_of(concepts: Sequence[Concept]) -> dict[str, NDArray[np.int64]]:
    """Each of `MEASURED` -> the numbers of its concepts."""
    parts = np.array([concept.part for concept in concepts])
    of: dict[str, NDArray[np.int64]] = {name: np.flatnonzero(parts == name) for name in PARTS}
    return of | {MADE: np.flatnonzero(parts != "head")}


def _result(one: Trained, concepts: Sequence[Concept], reference: Pool, base_SC: Shares, base: str) -> SourceResult:
    places = numbers_of(concepts)
    made = len(places[MADE])
    kept, pool = one.kept, one.pool
    right = coverage_density = None
    if kept is not None and pool is not None:
        seen = [pool.right_CP[at, picks].astype(float) for at, picks in enumerate(kept.picks) if len(picks)]
        right = bootstrap(seen) if seen else None
        if one.basis == "equal numbers":
            vectors = [pool.vectors_CPD[at, picks] for at, picks in enumerate(kept.picks)]
            coverage_density = _coverage(reference.vectors_CPD, vectors)
    difference = {name: crossed((one.shares_SC - base_SC)[:, at]) for name, at in places.items() if len(at)}
    return SourceResult(
        source=one.source.name,
        settings={"arms": one.source.arms, "judge": one.source.judge, "choose": one.source.choose},
        pictures_each=sum(map(len, kept.picks)) / made if kept else 0.0,
        passes_each=kept.passes / made if kept else 0.0,
        right=right,
        coverage=coverage_density[0] if coverage_density else None,
        density=coverage_density[1] if coverage_density else None,
        accuracy={name: crossed(one.shares_SC[:, at]) for name, at in places.items() if len(at)},
        difference=None if one.source.name == base else difference,
    )


def _coverage(real_CND: Floats, made: Sequence[Floats]) -> tuple[Estimate, Estimate]:
    """Coverage and density, over concepts."""
    each = [coverage(real_ND, made_MD, COVERAGE_K) for real_ND, made_MD in zip(real_CND, made, strict=True)]
    covered = bootstrap([np.array([one.coverage]) for one in each])
    return covered, bootstrap([np.array([one.density]) for one in each])
