"""The tables [scoring] and [[scorers]] of a run's TOML file. Importable without torch or ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.scorers import registry
from models.scorers.base import ScorerSpec
from pipelines.dataset import score_columns
from pipelines.errors import require


@dataclass(frozen=True, kw_only=True)
class Scoring(ScorerSpec):
    """The scorer whose scores select, and rank where `selection.rank_by` names no other. It gives image vectors."""

    batch_size: int = 64
    """Images per forward pass; whole groups are put together up to this number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.batch_size <= 65_536, "batch_size", self.batch_size, "needs 1 to 65,536 images")


@dataclass(frozen=True, kw_only=True)
class FurtherScorer(ScorerSpec):
    """A scorer whose columns stand beside those of [scoring]."""

    name: str
    """Begins its columns: `NAME_clip_score` and so on."""
    embeddings: bool = False
    """Keep its image vectors too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(score_columns.NAME.fullmatch(self.name)), "name", self.name, score_columns.NAME_RULE)
        vectors = registry.entry_of(self.kind).vectors
        require(vectors or not self.embeddings, "embeddings", True, f"scorers of the kind {self.kind!r} have none")

    def fields(self, dim: int | None) -> list[pa.Field[Any]]:
        """Its columns. dim: length of its image vectors, None where it gives none."""
        own = registry.entry_of(self.kind).columns
        return score_columns.further(self.name, dim, own, embeddings=self.embeddings)


def score_fields(
    scoring: Scoring | None, scorers: Sequence[FurtherScorer], dims: Sequence[int | None]
) -> list[pa.Field[Any]]:
    """The columns that scorers add to those of `schema.scored`. dims: of each of `scorers`."""
    own = score_columns.own(registry.entry_of(scoring.kind).columns) if scoring else []
    return [*own, *(field for one, dim in zip(scorers, dims, strict=True) for field in one.fields(dim))]


def declared_fields(scoring: Scoring | None, scorers: Sequence[FurtherScorer]) -> list[pa.Field[Any]]:
    """`score_fields` as far as it is known before any scorer is loaded: image vectors have the length 1."""
    return score_fields(scoring, scorers, [1 if registry.entry_of(one.kind).vectors else None for one in scorers])
