"""What the oracle says of groups of pictures: is it what was named, does the rest vary, how real does it look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.diversity import average_pair_vendi
from models.embedded.attributes import HEADS, NAMES, labels_of, scene_of
from models.embedded.captions import agreement, named_attributes
from models.embedded.oracle import Reading
from models.embedded.render import render
from models.embedded.world import sample_scene

Floats = NDArray[np.float64]

_OF_SINGLES = tuple(n for n in NAMES if not n.endswith("_1"))
_OF_PAIRS = tuple(n for n in NAMES if n not in ("size", "position"))


def attributes_of(arrangement: str) -> tuple[str, ...]:
    """The attributes that a scene of this arrangement has."""
    return _OF_SINGLES if arrangement == "single" else _OF_PAIRS


def success(prompt: str, reading: Reading) -> Floats:
    """1 for each picture that shows all that the prompt names, else 0."""
    named = named_attributes(prompt)
    return np.array([all(agreement(named, row).values()) for row in reading.labels], dtype=np.float64)


def confidence(prompt: str, reading: Reading) -> Floats:
    """Mean probability of the oracle's answers, per picture: how clearly it shows anything at all."""
    columns = [NAMES.index(name) for name in attributes_of(named_attributes(prompt)["arrangement"])]
    values: Floats = reading.confidence[:, columns].mean(1).astype(np.float64)
    return values


def distinct_values(prompt: str, reading: Reading) -> float:
    """Mean number of distinct values of the attributes that the prompt leaves open, in [1, pictures]."""
    named = named_attributes(prompt)
    free = [NAMES.index(n) for n in attributes_of(named["arrangement"]) if n not in named]
    return float(np.mean([len(np.unique(reading.labels[:, column])) for column in free]))


def pair_vendi(reading: Reading) -> float:
    """Average-pair Vendi score of the oracle's features, in [1, 2]."""
    return average_pair_vendi(reading.features)


def real_pictures(prompt: str, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Renders that show what the prompt names, the rest drawn as in the training world. uint8 [count, 64, 64, 3]."""
    named = named_attributes(prompt)
    pictures: list[NDArray[np.uint8]] = []
    while len(pictures) < count:
        scene = sample_scene(rng)
        if scene.arrangement != named["arrangement"]:
            continue
        labels = labels_of(scene)
        for name, word in named.items():
            labels[NAMES.index(name)] = HEADS[name].index(word)
        pictures.append(render(scene_of(labels), rng))
    return np.stack(pictures)


def kernel_sums(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> Floats:
    """Sums of the kernel (x.y / d + 1)^3 between the features of every prompt's pictures in `a` and in `b`.

    a, b: one float32 [n, d] per prompt. float64 [len(a), len(b)]. Where `a is b`, a picture's product with itself is
    replaced by the mean over the other pictures of its prompt, so that sums over prompts are unbiased.
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
    """What the kernel distance of any choice of prompts follows from: `kernel_sums` and pictures per prompt."""

    made: Floats
    mixed: Floats
    real: Floats
    made_each: Floats
    real_each: Floats

    @staticmethod
    def of(made: Sequence[NDArray[np.float32]], real: Sequence[NDArray[np.float32]]) -> KernelSums:
        """made, real: features float32 [n, d] per prompt, of two pictures or more each."""
        return KernelSums(
            made=kernel_sums(made, made),
            mixed=kernel_sums(made, real),
            real=kernel_sums(real, real),
            made_each=np.array([len(part) for part in made], dtype=np.float64),
            real_each=np.array([len(part) for part in real], dtype=np.float64),
        )

    def distance(self, weight: Floats) -> float:
        """Squared maximum mean discrepancy with the cubic kernel (KID, Binkowski et al. 2018), each prompt counted
        `weight` times."""
        n, m = self.made_each @ weight, self.real_each @ weight
        within = weight @ self.made @ weight / n**2 + weight @ self.real @ weight / m**2
        return float(within - 2.0 * (weight @ self.mixed @ weight) / (n * m))
