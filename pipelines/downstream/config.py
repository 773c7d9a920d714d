"""Settings of a downstream experiment: the real pictures, how others are drawn, and which of those classifiers get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from models.errors import require
from models.recommended import UNKNOWN, Recommended
from models.scorers.base import ScorerSpec
from models.spec import ModelSpec, Sampling
from pipelines.config import toml
from pipelines.config.arm_sampling import check_sampling
from pipelines.config.drawing import Drawing
from pipelines.config.recommended import build_experiment

REAL = "real renders"
"""What may be named in place of an arm: renders of the concepts themselves, which no model draws."""

Basis = Literal["equal numbers", "equal cost"]
"""On which sources are compared: as many pictures of each concept, or as many passes of the transformer in all."""

BASES: tuple[Basis, ...] = ("equal cost", "equal numbers")

Judge = Literal["none", "score", "margin"]
"""Which drawn pictures are accepted: see `Source.judge`."""

Choose = Literal["first", "covariance", "quota"]
"""Which accepted pictures are kept: see `Source.choose`."""


@dataclass(frozen=True, kw_only=True)
class Real:
    """The real pictures: renders of the embedded world."""

    pictures: int = 4000
    """Of one thing each, as common as the world has them: what every classifier is trained on. Drawn anew per seed."""
    test_each: int = 24
    """Of each concept, that classifiers are tested on."""
    tested_on: Literal["test", "validation"] = "test"
    """Settings are chosen on "validation" pictures, which are others than those of "test"."""
    reference_each: int = 64
    """Of each tail and never seen concept, which made pictures are compared with; more than `COVERAGE_K`."""
    concepts: int = 0
    """Most concepts of each part and kind, at even distances; 0 takes all."""

    def __post_init__(self) -> None:
        leasts = {"pictures": 1, "test_each": 1, "reference_each": COVERAGE_K + 1, "concepts": 0}
        for name, least in leasts.items():
            require(getattr(self, name) >= least, name, getattr(self, name), f"needs {least} or more")


COVERAGE_K = 5
"""Neighbour to which a ball of `models.coverage` reaches."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """How many pictures of each tail and never seen concept there are."""

    each: int = 32
    """Pictures that classifiers get of each concept where sources are compared at equal numbers; more than
    `COVERAGE_K`."""
    drawn_each: int = 64
    """Pictures that each arm draws of each concept, a multiple of `group_size`. What the first arm spends on them is
    what every source may spend where sources are compared at equal cost."""
    group_size: int = 8
    """Pictures that are drawn together."""
    groups_per_batch: int = 4
    """Groups that are denoised together."""
    score_quantile: float = 0.05
    """Share of the real pictures of head concepts that the judge "score" would refuse."""
    similarity: float = 0.95
    """Cosine from which a picture repeats one before, for quotas."""
    seed: int = 0
    """Noise depends on it, the prompt and the picture's number, and not on the arm."""

    def __post_init__(self) -> None:
        for name, least in (("each", COVERAGE_K + 1), ("group_size", 1), ("groups_per_batch", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"needs {least} or more")
        fits = self.drawn_each >= self.each and self.drawn_each % self.group_size == 0
        require(fits, "drawn_each", self.drawn_each, f"needs {self.each} or more, a multiple of {self.group_size}")
        require(0 <= self.score_quantile <= 1, "score_quantile", self.score_quantile, "needs 0 to 1")
        above = "needs more than 0, at most 1: from a cosine of 0 on every picture would repeat the first"
        require(0 < self.similarity <= 1, "similarity", self.similarity, above)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How each classifier is trained. All of them see as many pictures."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training each: other real pictures, first weights and order."""
    steps: int = 1000
    """Steps of the optimiser."""
    batch: int = 64
    """Pictures of a step."""
    learning_rate: float = 1e-2
    """The highest one; it rises over a fifth of the steps, and falls to 0."""
    shift: int = 4
    """Pixels by which the pictures of a step are moved at most, so that places are learned from few of them."""

    def __post_init__(self) -> None:
        require(len({*self.seeds}) == len(self.seeds) > 0, "seeds", self.seeds, "needs one or more, each once")
        for name, least in (("steps", 1), ("batch", 2), ("shift", 0)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"needs {least} or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "needs more than 0")


@dataclass(frozen=True, kw_only=True)
class Arm(Drawing):
    """One way to draw pictures."""

    draw_times: int = 1
    """How many times `Made.drawn_each` pictures are drawn of each concept: 2 where one takes half as many passes as
    those of the first arm, so that there are enough of them at equal cost."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.draw_times >= 1, "draw_times", self.draw_times, "needs 1 or more")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where pictures of tail and never seen concepts come from, and which of them are kept."""

    name: str
    """Unique in the experiment."""
    arms: tuple[str, ...] = ()
    """Names of arms, whose groups are taken in turn, or `REAL`; () adds no pictures to the real ones."""
    judge: Judge = "none"
    """Which pictures are accepted: all; those whose cosine to their prompt real pictures have too (`score_quantile`);
    or those nearer to their prompt than to its common counterfactual."""
    choose: Choose = "first"
    """Which accepted ones are kept: the first ones drawn; those whose covariance within a concept is that of real
    pictures of head concepts; or, for "quota", the first ones that repeat none before, drawn until there are enough,
    so that what easy concepts do not need goes to others."""


@dataclass(frozen=True, kw_only=True)
class DownstreamConfig:
    """All settings of an experiment."""

    output: str
    """Folder of the results: a local path or s3://bucket/folder."""
    name: str = "Training on made pictures"
    """Title of the report."""
    model: ModelSpec
    """Which model draws."""
    oracle: str
    """File with the oracle's weights. It says how many pictures are right, for the report, and chooses nothing."""
    scorer: ScorerSpec
    """By which pictures are judged and compared: one that gives image vectors."""
    sampling: Sampling
    """Of all arms."""
    real: Real = field(default_factory=Real)
    """The real pictures."""
    made: Made = field(default_factory=Made)
    """The others."""
    training: Training = field(default_factory=Training)
    """Of each classifier."""
    arms: tuple[Arm, ...]
    """One or more. The first says what equal cost is; of the others those are drawn that sources name."""
    sources: tuple[Source, ...]
    """What is compared."""
    bases: tuple[Basis, ...] = BASES
    """On which sources are compared; the figure shows the first."""
    base: str
    """Name of the source that the others are compared with."""
    recommended: Recommended = field(default=UNKNOWN, compare=False)
    """What sampling and interventions were taken from where the file does not say them."""

    def __post_init__(self) -> None:
        for key in ("arms", "sources"):
            names = [one.name for one in getattr(self, key)]
            require(len({*names}) == len(names) > 0, key, names, "needs one or more, each name once")
        for arm in self.arms:
            check_sampling(arm.name, arm.own_sampling, self.sampling)
        known = {arm.name for arm in self.arms}
        for source in self.sources:
            alone = len(source.arms) == 1 and REAL in source.arms
            good = alone or {*source.arms} <= known
            rule = f"{source.name!r} needs names of arms ({', '.join(sorted(known))}), or {REAL!r} alone"
            require(good, "sources.arms", source.arms, rule)
        require(len({*self.bases}) == len(self.bases) > 0, "bases", self.bases, "needs one or more, each once")
        names = [source.name for source in self.sources]
        require(self.base in names, "base", self.base, f"needs the name of a source: {', '.join(names)}")

    def warnings(self) -> Iterator[str]:
        """What a person should know of settings that are not wrong, a sentence or two each."""
        if self.recommended.warning:
            yield self.recommended.warning


def load(path: Path, overrides: Sequence[str] = ()) -> DownstreamConfig:
    """The experiment in a TOML file.

    path: of the file.
    overrides: `key.sub=value`, in place of values of the file.

    Raises:
        UserError: when the file cannot be read, or a key or value does not fit.
    """
    return build_experiment(DownstreamConfig, toml.read(path), overrides, {"arms": Arm}, file=str(path))


def quick(config: DownstreamConfig) -> DownstreamConfig:
    """The same sources on few concepts, pictures and seeds: minutes instead of hours, with wide intervals."""
    group = config.made.group_size
    return replace(
        config,
        real=replace(config.real, concepts=3),
        made=replace(config.made, each=max(2 * group, COVERAGE_K + 1), drawn_each=max(4 * group, COVERAGE_K + 1)),
        training=replace(config.training, seeds=config.training.seeds[:2]),
        output=f"{config.output}-quick",
    )
