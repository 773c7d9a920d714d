"""The quality of a whole dataset, top to bottom: finished run -> vectors -> near-duplicates, and how it covers real
pictures -> quality.json and repeats.parquet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.alike import repeats
from models.coverage import Coverage, coverage
from models.errors import require
from pipelines.config.recorded import recorded
from pipelines.config.tables import Run
from pipelines.dataset import owned, parquet, records
from pipelines.dataset.finished import FinishedRun, open_finished
from pipelines.dataset.lock import RunLock
from pipelines.dataset.names import IMAGE_FOLDERS
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.export.reference import reference_vectors
from pipelines.export.vectors import Vectors, vectors_of

FILE, REPEATS, RECORD = "quality.json", "repeats.parquet", "measured.json"
_CONCEPTS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured."""

    similarity: float = 0.95
    """Cosine of image vectors from which an image repeats an earlier one, above 0 and at most 1."""
    rejected: bool = False
    """Whether to look at dropped images too."""
    reference: str = ""
    """Folder of real pictures, with folders in it; "" for none."""
    k: int = 5
    """The neighbour to which a picture's ball reaches, 1 or more."""

    def __post_init__(self) -> None:
        require(0 < self.similarity <= 1, "similarity", self.similarity, "needs more than 0, at most 1")
        require(self.k >= 1, "k", self.k, "needs 1 or more")


@dataclass(frozen=True, kw_only=True)
class ArmQuality:
    """The images of an arm."""

    arm: str
    """Its name; "" for all."""
    images: int
    """How many there are."""
    repeats: int
    """Those that repeat an earlier one of the run, of whatever arm."""
    covers: Coverage | None
    """How they and the reference cover each other; None without one, or with too few images."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The content of quality.json."""

    name: str
    """Of the run."""
    features: str
    """The model whose vectors are compared."""
    similarity: float
    """As in `Wanted`."""
    k: int
    """As in `Wanted`."""
    reference: str
    """As in `Wanted`."""
    reference_images: int
    """Real pictures."""
    arms: tuple[ArmQuality, ...]
    """All images first, then each arm."""
    repeated_concepts: dict[str, int]
    """Concepts with the most repeats, up to ten."""


def run(dataset: Storage, output: Storage, wanted: Wanted) -> Quality:
    """Measure a finished run.

    dataset: the output folder of the run.
    output: where quality.json and repeats.parquet go.
    wanted: what is measured.

    Raises:
        UserError: when the run is not finished, or there are too few pictures.
    """
    finished = open_finished(dataset)
    owned.claim(output, RECORD, recorded(finished.run, "run", Run).name, setting="--output")
    arms = [arm.arm for arm in finished.report.by_arm]
    with RunLock(output), vectors_of(finished, IMAGE_FOLDERS if wanted.rejected else ("data",), arms) as found:
        if not found.rows.num_rows:
            raise UserError(f"{dataset.uri} holds no images")
        real_ND = _reference(finished, wanted) if wanted.reference else None
        content = _measured(finished, output, found, real_ND, wanted, arms)
        records.write(output, FILE, content)
    return content


def _measured(
    finished: FinishedRun,
    output: Storage,
    found: Vectors,
    real_ND: NDArray[np.float32] | None,
    wanted: Wanted,
    arms: list[str],
) -> Quality:
    first_N, cosine_N = repeats(found.vectors_ND, wanted.similarity)
    repeated_N = first_N >= 0
    table = found.rows.filter(pa.array(repeated_N)).select(["image_id", "arm", "concept", "file", "row"])
    originals = found.rows["image_id"].take(pa.array(first_N[repeated_N], pa.int64()))
    table = table.append_column("repeats", originals).append_column("cosine", pa.array(cosine_N[repeated_N]))
    parquet.write(output, REPEATS, table, small_groups=False)
    arm_N = np.array(found.rows["arm"].to_pylist())

    def measured(arm: str, of_N: NDArray[np.bool_]) -> ArmQuality:
        enough = real_ND is not None and int(of_N.sum()) > wanted.k
        return ArmQuality(
            arm=arm,
            images=int(of_N.sum()),
            repeats=int((repeated_N & of_N).sum()),
            covers=coverage(real_ND, found.vectors_ND[of_N], wanted.k) if enough and real_ND is not None else None,
        )

    counted = Counter(str(concept) for concept in table["concept"].to_pylist() if concept is not None)
    scoring = finished.run.config.get("scoring", {})
    return Quality(
        name=recorded(finished.run, "run", Run).name,
        features=f"{scoring.get('model')} {scoring.get('pretrained', '')}".strip(),
        similarity=wanted.similarity,
        k=wanted.k,
        reference=wanted.reference,
        reference_images=0 if real_ND is None else len(real_ND),
        arms=(measured("", np.ones(len(arm_N), dtype=bool)), *(measured(arm, arm_N == arm) for arm in arms)),
        repeated_concepts=dict(counted.most_common(_CONCEPTS_SHOWN)),
    )


def _reference(finished: FinishedRun, wanted: Wanted) -> NDArray[np.float32]:
    real_ND = reference_vectors(finished, wanted.reference)
    if len(real_ND) <= wanted.k:
        raise UserError(
            f"--reference {wanted.reference}: {len(real_ND)} pictures; k = {wanted.k} needs {wanted.k + 1} or more"
        )
    return real_ND
