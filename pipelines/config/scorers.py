"""The tables [scoring] and [[scorers]] of a run's TOML file. Importable without torch or ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa

from models.errors import ModelError, require
from models.plugins import COLUMN_NAME
from models.scorers import registry
from models.scorers.base import ScorerSpec
from models.scorers.open_clip_files import WITH_OWN_WEIGHTS
from pipelines.dataset import schema, score_columns
from pipelines.errors import UserError

PLACES = ("endpoint",)
"""Options that say where a scorer asks, not what."""

S = TypeVar("S", bound=ScorerSpec)


@dataclass(frozen=True, kw_only=True)
class Scoring(ScorerSpec):
    """The main scorer: selection uses its scores, and its rank unless `selection.rank_by` names another scorer. It must
    give image vectors."""

    batch_size: int = 64
    """Images per forward pass, 1 to 65,536; whole groups are combined up to this number."""
    frames: int = 8
    """Frames of a video that all scorers see, evenly spaced, 1 to 1024; 1 is the middle one. Each costs as much as a
    picture. Consistency over time depends on it: compare runs with the same number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.batch_size <= 65_536, "batch_size", self.batch_size, "needs 1 to 65,536 images")
        require(1 <= self.frames <= 1024, "frames", self.frames, "needs 1 to 1024")


@dataclass(frozen=True, kw_only=True)
class FurtherScorer(ScorerSpec):
    """A scorer that adds columns to those of [scoring]."""

    name: str
    """Prefix of its columns: `NAME_clip_score` and so on."""
    embeddings: bool = False
    """Whether to keep its image vectors too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(COLUMN_NAME.fullmatch(self.name)), "name", self.name, score_columns.NAME_RULE)
        registry.columns_of(self)
        vectors = registry.entry_of(self.kind).vectors
        require(vectors or not self.embeddings, "embeddings", True, f"scorers of the kind {self.kind!r} have none")

    def fields(self, dim: int | None, images: pa.Schema) -> list[pa.Field[Any]]:
        """The fields of its columns.

        dim: length of its image vectors, None where it gives none.
        images: columns of the images.
        """
        entry, columns = registry.entry_of(self.kind), registry.columns_of(self)
        said = {"score": entry.score, "answers": entry.answers}
        return score_columns.further(self.name, dim, columns, images, embeddings=self.embeddings, **said)


def check(spec: ScorerSpec, table: str = "scoring") -> None:
    """Check what can be known of a scorer's settings before it is loaded.

    spec: the settings.
    table: their table in the config, for messages.

    Raises:
        UserError: when the kind finds a setting wrong.
    """
    try:
        registry.entry_of(spec.kind).check(spec)
    except ModelError as error:
        raise UserError(f"{table}.{error}") from error


def checked(spec: S, table: str = "scoring") -> S:
    """A scorer's settings with the revision filled in, where its kind can tell.

    spec, table: as for `check`.

    Raises:
        UserError: as `check`.
    """
    check(spec, table)
    return replace(spec, revision=registry.entry_of(spec.kind).revision(spec))


def open_clip_table(text: str, separator: str = ":") -> dict[str, Any]:
    """The table [scoring] of an open_clip model.

    text: the model and, behind the separator, the name of its weights, such as ViT-B-32:openai.
    separator: of the two.
    """
    if text.startswith(WITH_OWN_WEIGHTS):
        return {"model": text}
    model, _, pretrained = text.partition(separator)
    return {"model": model, "pretrained": pretrained}


def score_fields(
    scoring: Scoring | None, scorers: Sequence[FurtherScorer], dims: Sequence[int | None], images: pa.Schema
) -> list[pa.Field[Any]]:
    """The columns that scorers add to those of `schema.scored`.

    scoring: the main scorer, which adds only its kind's own columns; None to leave it out.
    scorers: the others.
    dims: length of the image vectors of each of `scorers`, None where it gives none.
    images: columns of the images.
    """
    own = score_columns.own(registry.columns_of(scoring)) if scoring else []
    over_time = score_columns.over_time() if scoring and schema.of_videos(images) else []
    further = (one.fields(dim, images) for one, dim in zip(scorers, dims, strict=True))
    return [*over_time, *own, *(field for fields in further for field in fields)]


def declared_fields(
    scoring: Scoring | None, scorers: Sequence[FurtherScorer], images: pa.Schema
) -> list[pa.Field[Any]]:
    """`score_fields` before any scorer is loaded, with image vectors of length 1."""
    dims = [1 if registry.entry_of(one.kind).vectors else None for one in scorers]
    return score_fields(scoring, scorers, dims, images)
