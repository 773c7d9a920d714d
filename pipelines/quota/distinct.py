"""Which images are new: greedily, in the order of the plan, an image is accepted unless it is too similar to one that
is accepted already for the same quota.

Every decision is exact, whatever the machine, its BLAS and the number of vectors that are compared at a time: vectors
are rounded to 16-bit integers, whose products and sums are whole numbers below 2^53, where float64 does not round. So a
run that is stopped and goes on elsewhere accepts the same images. float32 is fast and finds what comes near the limit;
float64 decides. There is no index that could miss a neighbour.

Array names: K quotas, B images of a group, M accepted images of a quota, D values of an image vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.quota.spill import Spill

OVER_QUOTA, ACCEPTED = -2, -1
"""What becomes of an image that passes the judge; a number from 0 is that of the accepted image that it repeats."""

_SCALE = 32767
_SLACK = 1e-3
"""Far above the error of a cosine in float32."""
_MANY = 3

Vectors = NDArray[np.int16]
Floats = NDArray[np.float64]


def rounded(vectors_BD: NDArray[np.float16]) -> Vectors:
    """Unit vectors as 16-bit integers.

    vectors_BD: float16 [B, D].
    """
    return np.rint(vectors_BD.astype(np.float64) * _SCALE).astype(np.int16)


class Distinct:
    """The accepted images of all quotas, which lie in temporary files.

    quotas: how many quotas there are.
    most: images that each may have.
    similarity: cosine from which an image is a repeat.
    """

    def __init__(self, quotas: int, most: int, similarity: float) -> None:
        self._most, self._similarity = most, similarity
        self._vectors: Spill | None = None
        self._images = Spill(np.dtype([("image_id", "S32"), ("seen", "u1")]))
        self.count_K = np.zeros(quotas, np.int32)
        """Accepted images."""
        self.sampled_K = np.zeros(quotas, np.int32)
        """Images that passed the judge while there was room: the accepted ones and their repeats."""
        self.once_K = np.zeros(quotas, np.int32)
        """Accepted images that nothing of the sample repeats."""
        self.twice_K = np.zeros(quotas, np.int32)
        """Accepted images that one image of the sample repeats."""

    def add(self, quota: int, vectors_BD: NDArray[np.float16], ids: Sequence[str]) -> list[int]:
        """Accept what is new of some images that pass the judge, in their order, and say what becomes of each.

        quota: number of the quota.
        vectors_BD: float16 [B, D], of unit length.
        ids: of the B images.
        """
        if not ids:
            return []
        if self._vectors is None:
            self._vectors = Spill(np.dtype(("<i2", vectors_BD.shape[1:])))
        count = int(self.count_K[quota])
        vectors = rounded(vectors_BD)
        numbers, cosines = self._nearest(vectors, self._vectors.read(quota, count))
        among_BB = _cosines(vectors, vectors)
        images = self._images.read(quota, count)
        new: list[int] = []
        found = []
        for at in range(len(ids)):
            room = count + len(new) < self._most
            repeats, nearest = numbers[at], cosines[at]
            for number, earlier in enumerate(new, start=count):
                if among_BB[at, earlier] >= max(self._similarity, np.nextafter(nearest, 2)):
                    repeats, nearest = number, among_BB[at, earlier]
            if repeats >= 0:
                found.append(repeats)
                images["seen"][repeats] += room and images["seen"][repeats] < _MANY
            elif room:
                found.append(ACCEPTED)
                new.append(at)
                images = np.append(images, np.array([(ids[at].encode(), 1)], images.dtype))
            else:
                found.append(OVER_QUOTA)
            self.sampled_K[quota] += room
        self._vectors.write(quota, count, vectors[new])
        self._images.write(quota, 0, images)
        self.count_K[quota] = len(images)
        self.once_K[quota] = np.count_nonzero(images["seen"] == 1)
        self.twice_K[quota] = np.count_nonzero(images["seen"] == 2)
        return found

    def id_of(self, quota: int, number: int) -> str:
        """The id of an accepted image.

        quota: number of the quota.
        number: of the image among those that are accepted for it.
        """
        return bytes(self._images.read(quota, number + 1)["image_id"][number]).decode()

    def _nearest(self, vectors_BD: Vectors, known_MD: Vectors) -> tuple[list[int], list[float]]:
        """For each image the nearest accepted one that it repeats, with their cosine; -1 and -1.0 where it repeats
        none."""
        numbers, cosines = [-1] * len(vectors_BD), [-1.0] * len(vectors_BD)
        if len(known_MD):
            fast_MD, fast_BD = known_MD.astype(np.float32), vectors_BD.astype(np.float32)
            lengths_M = np.maximum(np.sqrt(np.einsum("md,md->m", fast_MD, fast_MD)), 1.0)
            lengths_B = np.maximum(np.sqrt(np.einsum("bd,bd->b", fast_BD, fast_BD)), 1.0)
            near_BM = fast_BD @ fast_MD.T >= (self._similarity - _SLACK) * lengths_B[:, None] * lengths_M
            for at in range(len(vectors_BD)):
                near = np.flatnonzero(near_BM[at])
                exact = _cosines(vectors_BD[at : at + 1], known_MD[near])[0]
                if len(near) and exact.max() >= self._similarity:
                    numbers[at], cosines[at] = int(near[exact.argmax()]), float(exact.max())
        return numbers, cosines


def _cosines(vectors_BD: Vectors, others_ND: Vectors) -> Floats:
    """Cosines of all pairs, float64 [B, N]; of a vector of zeros 0."""
    mine, others = vectors_BD.astype(np.float64), others_ND.astype(np.float64)
    lengths = np.sqrt(np.square(mine).sum(1))[:, None] * np.sqrt(np.square(others).sum(1))
    cosines: Floats = (mine @ others.T) / np.maximum(lengths, 1.0)
    return cosines
