"""Trains a classifier on what a source keeps, beside real pictures, and tests it. What one gave is a small file, so
that the same command goes on where it was stopped. Array names: C concepts, S seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.dataset.storage import Storage
from pipelines.downstream import classifier, renders
from pipelines.downstream.concepts import KINDS, Concept
from pipelines.downstream.config import DownstreamConfig
from pipelines.downstream.keep import Kept
from pipelines.downstream.pool import Pool
from pipelines.downstream.renders import Labelled

_RECIPE = 1
"""Of the classifier: another one makes other files."""


class School:
    """Trains and tests classifiers.

    config: the experiment.
    output: its folder.
    concepts: what is tested, in the order of the results.
    """

    def __init__(self, config: DownstreamConfig, output: Storage, concepts: Sequence[Concept]) -> None:
        self._config, self._output, self._concepts = config, output, concepts
        self._real = lru_cache(maxsize=1)(lambda seed: renders.long_tailed(config.real.pictures, seed))
        real = config.real
        self._test = np.stack([renders.of_concept(one, real.test_each, real.tested_on) for one in concepts])

    def right(self, made: Labelled | None, seed: int) -> NDArray[np.float64]:
        """Share of each concept's test pictures that a classifier names rightly, float64 [C].

        made: what it is trained on beside real pictures.
        seed: of the training.
        """
        settings = {**asdict(self._config.training), "seeds": seed}
        real, tested = self._config.real, [concept.prompt.prompt for concept in self._concepts]
        pictures = [real.pictures, real.test_each, real.tested_on, "" if made is None else _digest(made)]
        of = [_RECIPE, settings, pictures, tested]
        name = hashlib.blake2b(json.dumps(of, sort_keys=True).encode(), digest_size=8).hexdigest()
        file = f"trainings/{name}.json"
        if not self._output.exists(file):
            right_C = self._trained(made, seed)
            self._output.write_bytes(file, json.dumps(right_C.tolist()).encode())
        return np.array(json.loads(self._output.read_bytes(file)))

    def _trained(self, made: Labelled | None, seed: int) -> NDArray[np.float64]:
        data = Labelled.joined([self._real(seed), *([made] if made is not None else [])])
        net = classifier.train(data.pictures_NHWC, data.classes, self._config.training, seed)
        named = classifier.predicted(net, np.concatenate(list(self._test))).reshape(*self._test.shape[:2], len(KINDS))
        wanted = np.stack([concept.classes for concept in self._concepts])
        right = (named == wanted[:, None]).any(2)  # the class of the other kind is not known
        share_C: NDArray[np.float64] = right.mean(1)
        return share_C


def labelled(pool: Pool, kept: Kept, concepts: Sequence[Concept]) -> Labelled:
    """What a source keeps, with the classes that its prompts name, whatever the pictures show.

    pool: of the source.
    kept: of the pool.
    concepts: of the pool.
    """
    return Labelled(
        pictures_NHWC=np.concatenate([pool.pictures_CPHWC[at, picks] for at, picks in enumerate(kept.picks)]),
        classes=np.concatenate(
            [np.tile(concept.classes, (len(picks), 1)) for concept, picks in zip(concepts, kept.picks, strict=True)]
        ),
    )


def _digest(made: Labelled) -> str:
    digest = hashlib.sha256(made.pictures_NHWC.tobytes())
    digest.update(made.classes.tobytes())
    return digest.hexdigest()
