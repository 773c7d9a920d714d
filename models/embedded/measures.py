"""Measures of groups of pictures, from the oracle: prompt agreement, diversity, and distance to real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.diversity import average_pair_vendi
from models.embedded.attributes import NAMES, Labels, index_of
from models.embedded.captions import named_attributes
from models.embedded.described import described
from models.embedded.oracle import Reading
from models.embedded.render import render

Floats = NDArray[np.float64]

_OF_SINGLES = tuple(n for n in NAMES if not n.endswith("_1"))
_OF_PAIRS = tuple(n for n in NAMES if n not in ("size", "position"))


def attributes_of(arrangement: str) -> tuple[str, ...]:
    """The attributes that a scene of this arrangement has."""
    return _OF_SINGLES if arrangement == "single" else _OF_PAIRS


def success(prompt: str, reading: Reading) -> Floats:
    """1 for each picture that shows all attributes that the prompt names, else 0: float64 [pictures].

    prompt: a caption in the grammar of `captions`.
    reading: what the oracle sees in the pictures of this prompt.
    """
    columns, classes = _named(prompt)
    right: Floats = (reading.labels[:, columns] == classes).all(axis=1).astype(np.float64)
    return right


def confidence(prompt: str, reading: Reading) -> Floats:
    """Mean probability of the oracle's answers, float64 [pictures]: how clearly each picture shows a scene.

    prompt, reading: as for `success`.
    """
    columns = [NAMES.index(name) for name in attributes_of(named_attributes(prompt)["arrangement"])]
    values: Floats = reading.confidence[:, columns].mean(1).astype(np.float64)
    return values


def distinct_values(prompt: str, reading: Reading) -> float:
    """Mean number of distinct values of the attributes that the prompt leaves open, in [1, pictures].

    prompt, reading: as for `success`.
    """
    return _distinct(_open_labels(prompt, reading))


def distinct_right_values(prompt: str, reading: Reading) -> float:
    """The same over the pictures that are right alone, in [0, right pictures]: pictures that miss the prompt add
    nothing.

    prompt, reading: as for `success`.
    """
    return _distinct(_open_labels(prompt, reading)[success(prompt, reading) == 1.0])


def distinct_right(prompt: str, reading: Reading) -> float:
    """Number of distinct right pictures, in [0, pictures]: those that are right, and differ in at least one attribute
    that the prompt leaves open from every right one before.

    prompt, reading: as for `success`.
    """
    right = _open_labels(prompt, reading)[success(prompt, reading) == 1.0]
    return float(len(np.unique(right, axis=0)))


def _open_labels(prompt: str, reading: Reading) -> Labels:
    """int8 [pictures, open attributes]: what the pictures show of what the prompt leaves open."""
    return reading.labels[:, _open(prompt)]


@lru_cache(maxsize=4096)
def _named(prompt: str) -> tuple[list[int], list[int]]:
    """Columns of label arrays and their classes, of what a prompt names."""
    named = named_attributes(prompt)
    return [NAMES.index(name) for name in named], [index_of(name, word) for name, word in named.items()]


@lru_cache(maxsize=4096)
def _open(prompt: str) -> list[int]:
    """Columns of what a prompt leaves open."""
    named = named_attributes(prompt)
    return [NAMES.index(name) for name in attributes_of(named["arrangement"]) if name not in named]


def _distinct(labels: Labels) -> float:
    return float(np.mean([len(np.unique(column)) for column in labels.T]))


def pair_vendi(reading: Reading) -> float:
    """Average-pair Vendi score of the oracle's features, in [1, 2]."""
    return average_pair_vendi(reading.features)


def real_pictures(prompt: str, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Renders of scenes that the prompt describes, uint8 [count, 64, 64, 3].

    Attributes that the prompt leaves open are drawn as in the training world: colours and textures as its shapes have
    them.

    prompt: a caption in the grammar of `captions`.
    count: number of pictures, 1 or more.
    rng: the source of randomness.
    """
    return np.stack([render(described(prompt, rng), rng) for _ in range(count)])


def kernel_sums(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> Floats:
    """Sums of the kernel (x.y / d + 1)^3 over all pairs of pictures of two prompts, float64 [len(a), len(b)].

    Where `a is b`, a picture's product with itself is replaced by the mean over the other pictures of its prompt, so
    that sums over prompts are unbiased.

    a: features, one float32 [n, d] per prompt.
    b: as `a`.
    """
    rows, columns = np.concatenate(a).astype(np.float64), np.concatenate(b).astype(np.float64)
    kernel = (rows @ columns.T / rows.shape[1] + 1.0) ** 3
    if a is b:
        np.fill_diagonal(kernel, 0.0)
    starts = [np.cumsum([0, *(len(part) for part in parts[:-1])]) for parts in (a, b)]
    sums: Floats = np.add.reduceat(np.add.reduceat(kernel, starts[0], axis=0), starts[1], axis=1)
    if a is b:
        sizes = np.array([len(part) for part in a], dtype=np.float64)
        sums[np.diag_indices(len(a))] *= sizes / (sizes - 1)
    return sums


@dataclass(frozen=True, kw_only=True)
class KernelSums:
    """Sums per prompt from which the kernel distance of any weighting of the P prompts follows."""

    made: Floats
    """float64 [P, P]: `kernel_sums` between generated pictures."""
    mixed: Floats
    """float64 [P, P]: `kernel_sums` between generated and real pictures."""
    real: Floats
    """float64 [P, P]: `kernel_sums` between real pictures."""
    made_each: Floats
    """float64 [P]: number of generated pictures."""
    real_each: Floats
    """float64 [P]: number of real pictures."""

    @staticmethod
    def of(made: Sequence[NDArray[np.float32]], real: Sequence[NDArray[np.float32]], real_sums: Floats) -> KernelSums:
        """The sums over generated and real pictures of the same prompts.

        made: features of the generated pictures, one float32 [n, d] per prompt, n at least 2.
        real: as `made`, of the real pictures.
        real_sums: `kernel_sums(real, real)`, which many sets of generated pictures share.
        """
        return KernelSums(
            made=kernel_sums(made, made),
            mixed=kernel_sums(made, real),
            real=real_sums,
            made_each=np.array([len(part) for part in made], dtype=np.float64),
            real_each=np.array([len(part) for part in real], dtype=np.float64),
        )

    def distance(self, weight: Floats) -> float:
        """Squared maximum mean discrepancy with the cubic kernel (KID, Binkowski et al. 2018).

        weight: float64 [P], how often each prompt counts.
        """
        n, m = self.made_each @ weight, self.real_each @ weight
        within = weight @ self.made @ weight / n**2 + weight @ self.real @ weight / m**2
        return float(within - 2.0 * (weight @ self.mixed @ weight) / (n * m))
