"""How much images are like the pictures that they edit, by a scorer's image vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.pictures import decoded
from models.scorers.base import Floats, GroupScores
from pipelines.stages.judge import Judge

_VECTORS_KEPT = 1024


class Likeness:
    """The cosines of images and the pictures that they edit, whose vectors are kept, as the groups of a prompt follow
    each other.

    judge: of a scorer with image vectors.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._vectors: dict[str, Floats] = {}

    def of(
        self, scores: Sequence[GroupScores], edited: Sequence[Sequence[str]], files: Mapping[str, bytes]
    ) -> list[list[float | None]]:
        """For each image of each group the cosine to the nearest of the pictures that its prompt edits; None without
        one.

        scores: of each group, with image vectors.
        edited: ids of each group's pictures.
        files: id -> file of the pictures.
        """
        self._learn([*dict.fromkeys(one for ids in edited for one in ids if one not in self._vectors)], files)
        found: list[list[float | None]] = []
        for of_group, ids in zip(scores, edited, strict=True):
            if ids:
                assert of_group.features_BD is not None  # the judge checks it
                vectors_PD = np.stack([self._vectors[one] for one in ids])
                found.append((of_group.features_BD @ vectors_PD.T).max(axis=1).tolist())
            else:
                found.append([None] * len(of_group.score_B))
        while len(self._vectors) > _VECTORS_KEPT:
            del self._vectors[next(iter(self._vectors))]
        return found

    def _learn(self, ids: Sequence[str], files: Mapping[str, bytes]) -> None:
        if ids:
            pixels = [np.asarray(decoded(files[one])) for one in ids]
            self._vectors |= dict(zip(ids, self._judge.vectors(pixels), strict=True))
