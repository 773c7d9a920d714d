"""Real pictures that a run's images are compared with: their files, and their vectors by the scorer of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.pictures import decoded
from models.scorers.base import ImageGroup
from pipelines.config import plugins
from pipelines.config.recorded import recorded
from pipelines.config.scorers import Scoring
from pipelines.config.tables import Run
from pipelines.dataset.finished import FinishedRun
from pipelines.errors import UserError
from pipelines.stages.judge import Judge

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_AT_A_TIME = 32


def pictures_in(folder: str) -> list[Path]:
    """The pictures in a local folder, and in folders in it, by their names.

    Raises:
        UserError: when there is none.
    """
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in _ENDINGS)
    if not files:
        raise UserError(f"{folder} holds no pictures ({', '.join(_ENDINGS)}): give a local folder of real ones")
    return files


def digest(folder: str) -> str:
    """A hash of the pictures in a folder, in the order of their names; errors as of `pictures_in`."""
    found = hashlib.sha256()
    for file in pictures_in(folder):
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def reference_vectors(run: FinishedRun, folder: str) -> NDArray[np.float32]:
    """The vectors of the pictures in a folder, float32 [N, D], by the scorer that made those of the run.

    run: the finished run.
    folder: as of `pictures_in`.

    Raises:
        UserError: when there is none, or one cannot be read.
    """
    files = pictures_in(folder)
    plugins.load(recorded(run.run, "run", Run).plugins)
    judge = Judge(recorded(run.run, "scoring", Scoring), "auto")
    some = [files[at : at + _AT_A_TIME] for at in range(0, len(files), _AT_A_TIME)]
    return np.concatenate([vectors for of in some for vectors in _embedded(judge, of)])


def _embedded(judge: Judge, files: list[Path]) -> Iterator[NDArray[np.float32]]:
    """The vectors of pictures, one by one: they may differ in size."""
    groups = [ImageGroup(pixels_BHWC=np.asarray(_read(file))[None], prompt="", counterfactual=None) for file in files]
    for judged in judge(groups):
        assert judged.scores.features_BD is not None  # the config checks it
        yield judged.scores.features_BD


def _read(file: Path) -> Image.Image:
    try:
        return decoded(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: {error}") from error
