"""report.json of an evaluation: every measure of every arm with a 95 % interval from resampling concepts, and its
paired difference to the first arm; the differences of a question's arms also with intervals that hold all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded.measures import KernelSums, kernel_sums
from models.statistics import Estimate, bootstrap, simultaneous
from pipelines.evaluation.arm_files import Made
from pipelines.evaluation.config import Arm, EvaluationConfig
from pipelines.evaluation.prompts import WIDE, PromptSet
from pipelines.evaluation.values import Values, values_of

VERSION = 2
_KERNEL_RESAMPLES = 500


@dataclass(frozen=True, kw_only=True)
class ArmReadings:
    """What an arm made."""

    made: Mapping[str, Sequence[Made]]
    """Name of a set -> what was made of it with each seed."""
    sheets: dict[str, str]
    """Prompt -> file of a sheet with its pictures."""


def report(
    config: EvaluationConfig,
    sets: Sequence[PromptSet],
    arms: Mapping[str, ArmReadings],
    real: Mapping[str, Sequence[Made]],
) -> dict[str, Any]:
    """The content of report.json.

    config: the evaluation.
    sets: its prompts.
    arms: name of each arm -> what it made.
    real: as `ArmReadings.made`, of as many real renders of each prompt or more.
    """
    base = config.arms[0].name
    values = {name: values_of(sets, arm.made) for name, arm in arms.items()}
    narrow = [one for one in sets if one.kind != WIDE]
    concepts = [concept for one in narrow for concept in one.concepts]
    features = _features(narrow, real)
    real_sums = kernel_sums(features, features)
    kernels = {name: KernelSums.of(_features(narrow, arm.made), features, real_sums) for name, arm in arms.items()}
    entries = []
    for arm in config.all_arms:
        table = {name: _against(own, values[base][name]) for name, own in values[arm.name].items()}
        table["kernel_distance"] = _kernel_distance(kernels[arm.name], kernels[base], concepts)
        if arm.name == base:
            for measure in table.values():
                measure["difference"] = None
        entries.append(_entry(arm, arms[arm.name], table))
    _add_simultaneous(entries, values, base)
    return {
        "version": VERSION,
        "name": config.name,
        "base": base,
        "sampling": config.sampling.settings(pictures=False),
        "prompts": asdict(config.prompts) | {"sets": {one.name: len(one.prompts) for one in sets}},
        "real": {name: _against(own, values[base][name]) for name, own in values_of(sets, real).items()},
        "arms": entries,
    }


def _entry(arm: Arm, made: ArmReadings, measures: dict[str, Any]) -> dict[str, Any]:
    every = [one for of_seeds in made.made.values() for one in of_seeds]
    return {
        "arm": arm.name,
        "question": arm.question,
        "value": arm.value,
        "settings": arm.settings(),
        "passes": float(np.mean([one.passes for one in every])),
        "measures": measures,
        "sheets": made.sheets,
    }


def _against(own: Values, base: Values) -> dict[str, Any]:
    clusters = own.clusters()
    return {
        **asdict(bootstrap(clusters)),
        "seeds": own.mean_of_each_seed(),
        "difference": asdict(bootstrap((own - base).clusters())),
        "prompts": len(own.concepts),
        "concepts": len(clusters),
    }


def _add_simultaneous(entries: Sequence[dict[str, Any]], values: Mapping[str, Mapping[str, Values]], base: str) -> None:
    """Give the differences of each question's arms the ends of their simultaneous intervals."""
    for question in {entry["question"] for entry in entries}:
        rivals = [entry for entry in entries if entry["question"] == question and entry["arm"] != base]
        several = [name for name, own in values[base].items() if len({*own.concepts}) > 1]
        for name in several if rivals else ():
            apart = [(values[entry["arm"]][name] - values[base][name]).clusters() for entry in rivals]
            for entry, estimate in zip(rivals, simultaneous(apart), strict=True):
                entry["measures"][name]["difference"]["together"] = [estimate.low, estimate.high]


def _features(sets: Sequence[PromptSet], made: Mapping[str, Sequence[Made]]) -> list[NDArray[np.float32]]:
    """The oracle's features of each prompt, over all seeds."""
    return [
        np.concatenate([of_seed.readings[number].features for of_seed in made[one.name]])
        for one in sets
        for number in range(len(one.prompts))
    ]


def _kernel_distance(own: KernelSums, base: KernelSums, concepts: Sequence[str]) -> dict[str, Any]:
    distinct = list(dict.fromkeys(concepts))
    number = np.array([distinct.index(concept) for concept in concepts])
    even = np.full(len(distinct), 1 / len(distinct))
    weights = np.random.default_rng(0).multinomial(len(distinct), even, size=_KERNEL_RESAMPLES)[:, number]
    every = np.ones(len(concepts))
    drawn = np.array([[own.distance(w), base.distance(w)] for w in weights.astype(np.float64)])
    values = _interval(own.distance(every), drawn[:, 0])
    difference = _interval(own.distance(every) - base.distance(every), drawn[:, 0] - drawn[:, 1])
    return {
        **asdict(values),
        "difference": asdict(difference),
        "prompts": len(concepts),
        "concepts": len(distinct),
    }


def _interval(mean: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(mean=mean, low=float(low), high=float(high))
