"""Concepts of the embedded world that have quotas: their prompts, and the groups that are drawn of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jobs.benchmarks.quotas import made_of
from models.embedded import TURBO, TURBO_SAMPLING, WEIGHTS, measures, world
from models.embedded.described import expanded
from models.embedded.oracle import Oracle
from models.embedded.promptset import WorldPrompt
from models.generator import Generator
from models.scorers.clip import ClipScorer
from models.seeds import image_seed
from models.spec import Dtype, Group, ModelSpec
from pipelines.config.arms import Arm, read_arms, read_interventions
from pipelines.config.recommended import settings_of
from pipelines.quota.budget import Ask
from pipelines.quota.shard import Made
from pipelines.quota.state import State

_PIPELINE = str(WEIGHTS / "pipeline")
_IMAGES_PER_BATCH = 32
_HALF = {"steps": 2, "sigmas": [1.0, 0.5]}
ARMS: list[dict[str, Any]] = [
    {"name": "stock"},
    {"name": "TORA", "tora": True},
    {"name": "repulsion", "repulsion": True},
    {"name": "both", "tora": True, "repulsion": True},
    {"name": "half", "sampling": _HALF},
    {"name": "half, TORA", "tora": True, "sampling": _HALF},
]
"""As in the file of a run; the interventions have the settings that are recommended for the model."""


Evenly = NDArray[np.int64]
"""What `Embedded.evenly` gives."""


class Row(NamedTuple):
    """A prompt of a concept."""

    text: str
    counterfactual: str
    concept: WorldPrompt
    """Its own prompt names the concept alone: by that the oracle judges."""


class Judged(NamedTuple):
    """The images of a group."""

    margin_B: NDArray[np.float32]
    """`clip_margin` with the row's text and counterfactual."""
    plain_B: NDArray[np.float32]
    """The same with those of the concept."""
    right_B: NDArray[np.bool_]
    """Whether the oracle finds what the concept names."""
    vectors_BD: NDArray[np.float16]


def plain_rows(concepts: Sequence[WorldPrompt]) -> list[Row]:
    """One prompt for each concept."""
    return [Row(one.prompt, str(one.counterfactual), one) for one in concepts]


def longer_rows(concepts: Sequence[WorldPrompt], each: int, seed: int) -> list[Row]:
    """`each` prompts of each concept, in which what its own prompt leaves open is written out at random.

    The counterfactual of a longer text is that text with the common attribute in place of the rare one, so that the
    margin asks for the concept alone, whatever else the text says.
    """
    rngs = [np.random.default_rng([seed, number]) for number in range(len(concepts))]
    return [row for one, rng in zip(concepts, rngs, strict=True) for row in _longer(one, each, rng)]


def _longer(concept: WorldPrompt, each: int, rng: np.random.Generator) -> Iterator[Row]:
    word, shape = concept.concept.split()
    common = world.most_typical(shape, concept.kind)
    between = r"( \w+)" if concept.kind == "texture" else "()"
    found: set[str] = set()
    while len(found) < each:
        text = expanded(concept.prompt, rng, balanced=True)
        other = re.sub(rf"\b{word}{between} {shape}\b", rf"{common}\1 {shape}", text, count=1)
        if text not in found:
            found.add(text)
            yield Row(text, other, concept)


@dataclass(kw_only=True)
class Studio:
    """Draws groups and judges them, each once, whoever asks for it."""

    seed: int
    dtype: Dtype

    def __post_init__(self) -> None:
        self._judged: dict[tuple[str, str, int, int], Judged] = {}

    @cached_property
    def _models(self) -> tuple[Generator, ClipScorer, Oracle]:
        spec = ModelSpec(path=_PIPELINE, dtype=self.dtype, loras=(TURBO,))
        return Generator(spec), ClipScorer(f"local-dir:{WEIGHTS / 'clip'}"), Oracle()

    def groups(self, asked: Sequence[tuple[Row, Arm, int]], size: int) -> list[Judged]:
        """Groups, in order.

        asked: the row, the arm, and how many groups of the row there were before: that decides the noise.
        size: images of a group.
        """
        missing = {(row.text, arm.name, number, size): (row, arm, number) for row, arm, number in asked}
        todo = [one for key, one in missing.items() if key not in self._judged]
        for name in dict.fromkeys(arm.name for _, arm, _ in todo):
            own = [one for one in todo if one[1].name == name]
            for start in tqdm(range(0, len(own), _IMAGES_PER_BATCH // size), desc=name, leave=False):
                self._make(own[start : start + _IMAGES_PER_BATCH // size], size)
        return [self._judged[row.text, arm.name, number, size] for row, arm, number in asked]

    def of_texts(self, texts: Collection[str]) -> list[Judged]:
        """All groups that were made of some texts."""
        return [judged for (text, *_), judged in self._judged.items() if text in texts]

    def _make(self, asked: Sequence[tuple[Row, Arm, int]], size: int) -> None:
        generator, scorer, oracle = self._models
        groups = [
            Group(
                prompt=row.text,
                seeds=tuple(image_seed(self.seed, f"{number} {row.text}", index) for index in range(size)),
                sampling=arm.sampling.of(TURBO_SAMPLING),
                interventions=arm.interventions,
            )
            for row, arm, number in asked
        ]
        for (row, arm, number), images in zip(asked, generator.generate(groups), strict=True):
            vectors = scorer.embed_images(images)
            concept = row.concept
            texts = scorer.embed_texts([row.text, row.counterfactual, concept.prompt, str(concept.counterfactual)])
            self._judged[row.text, arm.name, number, size] = Judged(
                margin_B=vectors @ (texts[0] - texts[1]),
                plain_B=vectors @ (texts[2] - texts[3]),
                right_B=measures.success(concept.prompt, oracle.read(images)) == 1,
                vectors_BD=vectors.astype(np.float16),
            )


class Embedded:
    """A `jobs.benchmarks.quotas.World` of the embedded model.

    rows: prompts; those of a concept follow each other.
    size: images of a group.
    studio: draws.
    margin: the least clip_margin of an image that passes.
    """

    def __init__(self, rows: Sequence[Row], size: int, studio: Studio, margin: float) -> None:
        self.rows, self.size, self.studio, self.margin = rows, size, studio, margin
        self.prompts: Sequence[tuple[str, str]] = [(row.text, row.concept.prompt) for row in rows]
        sampling = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(TURBO_SAMPLING).items()}
        self.tables: Mapping[str, Any] = {
            "model": {"path": _PIPELINE, "dtype": "float32"},
            "sampling": sampling,
            "group": {"size": size},
            "arms": ARMS,
        }
        settings = read_interventions({}, settings_of(_PIPELINE, [TURBO]).recommended, file="the benchmark")
        self.arms = read_arms(ARMS, settings, file="the benchmark")
        self._had: Counter[int] = Counter()

    def begin(self) -> None:
        self._had.clear()

    def draw(self, state: State, asked: Ask, prompt_ids: list[str]) -> tuple[Made, NDArray[np.bool_]]:
        groups = []
        for prompt, arm in zip(asked.prompt_G.tolist(), asked.arm_G.tolist(), strict=True):
            # As in a run, a prompt's groups have other noise each, whatever their arms.
            groups.append((self.rows[prompt], self.arms[arm], self._had[prompt]))
            self._had[prompt] += 1
        judged = self.studio.groups(groups, self.size)
        passed = np.concatenate([one.margin_B > self.margin for one in judged])
        vectors = np.concatenate([one.vectors_BD for one in judged])
        arms = [self.arms[arm].name for arm in asked.arm_G]
        return made_of(prompt_ids, arms, passed, vectors), np.concatenate([one.right_B for one in judged])

    def evenly(self, name: str, images: int, accepted: int, similarity: float) -> Evenly:
        """As many images of each concept, its prompts in turn: how many are accepted among its first 0, 1, 2 .. images,
        and how many of these are right, int64 [2, concepts, 1 + images].

        name: of the arm.
        images: of each concept.
        accepted: images that are asked for.
        similarity: cosine from which an image repeats an accepted one.
        """
        arm = next(one for one in self.arms if one.name == name)
        rows = [[*own] for _, own in groupby(self.rows, key=lambda row: row.concept)]
        kept: list[list[NDArray[np.float16]]] = [[] for _ in rows]
        taken = np.zeros((2, len(rows), 1 + images), np.int64)
        for number in range(images // self.size):
            of = [at for at in range(len(rows)) if len(kept[at]) < accepted]  # more would be over the quota
            asked = [(rows[at][number % len(rows[at])], arm, number // len(rows[at])) for at in of]
            for at, judged in zip(of, self.studio.groups(asked, self.size), strict=True):
                for image, vector in enumerate(judged.vectors_BD):
                    new = all(float(vector.astype(np.float32) @ one) < similarity for one in kept[at])
                    if judged.margin_B[image] > self.margin and new and len(kept[at]) < accepted:
                        kept[at].append(vector)
                        taken[:, at, 1 + number * self.size + image] = 1, judged.right_B[image]
        return taken.cumsum(2)
