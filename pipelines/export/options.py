"""The settings of an export."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.dataset.content_credentials import Credentials
from pipelines.export import labels
from pipelines.export.parts import UNDIVIDED, Splits


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The settings of an export."""

    format: str
    """A name of `pipelines.export.formats`."""
    arms: tuple[str, ...] = ()
    """Names of the arms; () takes all."""
    rejected: bool = False
    """Whether to export the images that selection dropped too."""
    embeddings: bool = False
    """Whether to export the image vectors of the scorers too."""
    scores: tuple[str, ...] | None = None
    """Names of the scorers whose columns are exported; None takes all existing ones."""
    shard_bytes: int = 500_000_000
    """Largest size of a file in bytes."""
    license: str = "other"
    """As the hub names licences."""
    splits: Splits = UNDIVIDED
    """How rows are divided."""
    labels: tuple[str, ...] = labels.LABELS
    """Columns whose values are labels, for formats that have some."""
    mark: bool = True
    """Whether every image file says that a model has made it (`pipelines.dataset.ai_mark`)."""
    accept: str = ""
    """As `selection.accept`, over the run's columns and those of `scores`; "" leaves out none."""
    repeats: float = 1.0
    """Cosine of image vectors from which an image that repeats an earlier one, of whatever group, is left out; 1 leaves
    out none."""
    match_covariance: str = ""
    """A local folder of real pictures: the kept images are chosen so that the covariance of their vectors matches; ""
    takes all."""
    match_count: int = 0
    """How many kept images are chosen then, 1 or more."""
    credentials: Credentials | None = None
    """Who signs every image file (`pipelines.dataset.content_credentials`); None for nobody."""
