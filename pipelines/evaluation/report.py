"""report.json of an evaluation: every measure of every arm with a 95 % interval from resampling prompts, and its paired
difference to the first arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded import measures
from models.embedded.measures import KernelSums
from models.embedded.oracle import Reading
from models.statistics import Estimate, bootstrap
from pipelines.evaluation.config import Arm, EvaluationConfig
from pipelines.evaluation.prompts import OPEN, RARITIES, PromptSet

VERSION = 1
_KERNEL_RESAMPLES = 500

Clusters = list[NDArray[np.float64]]
"""One array per prompt."""


@dataclass(frozen=True, kw_only=True)
class ArmReadings:
    """The pictures of an arm, as the oracle reads them."""

    readings: list[Reading]
    """One per prompt, in the order of the sets."""
    sheets: dict[str, str]
    """Prompt -> file of a sheet with its pictures."""


def report(
    config: EvaluationConfig,
    sets: Sequence[PromptSet],
    arms: Mapping[str, ArmReadings],
    real: Sequence[Reading],
) -> dict[str, Any]:
    """The content of report.json.

    config: the evaluation.
    sets: its prompts.
    arms: name of each arm -> its readings.
    real: readings of a group or more of real renders for each prompt, in the order of the sets.
    """
    base = config.arms[0].name
    clusters = {name: _clusters(sets, arm.readings) for name, arm in arms.items()}
    features = [reading.features for reading in real]
    kernels = {name: KernelSums.of([r.features for r in arm.readings], features) for name, arm in arms.items()}
    real_clusters = _clusters(sets, [reading.first(config.prompts.group_size) for reading in real])
    entries = [_entry(arm, arms[arm.name], clusters, kernels, base) for arm in config.all_arms]
    return {
        "version": VERSION,
        "name": config.name,
        "base": base,
        "sampling": config.sampling.settings(pictures=False),
        "prompts": asdict(config.prompts) | {"sets": {one.name: len(one.prompts) for one in sets}},
        "real": {name: _with_difference(values, clusters[base][name]) for name, values in real_clusters.items()},
        "arms": entries,
    }


def _entry(
    arm: Arm,
    made: ArmReadings,
    clusters: Mapping[str, Mapping[str, Clusters]],
    kernels: Mapping[str, KernelSums],
    base: str,
) -> dict[str, Any]:
    own = clusters[arm.name]
    table = {name: _with_difference(values, clusters[base][name]) for name, values in own.items()}
    table["kernel_distance"] = _kernel_distance(kernels[arm.name], kernels[base])
    if arm.name == base:
        for measure in table.values():
            measure["difference"] = None
    return {
        "arm": arm.name,
        "question": arm.question,
        "value": arm.value,
        "settings": arm.settings(),
        "measures": table,
        "sheets": made.sheets,
    }


def _clusters(sets: Sequence[PromptSet], readings: Sequence[Reading]) -> dict[str, Clusters]:
    """Measure -> its values, one array per prompt."""
    of_set: dict[str, list[tuple[str, Reading]]] = {}
    at = 0
    for one in sets:
        of_set[one.name] = list(zip(one.prompts, readings[at : at + len(one.prompts)], strict=True))
        at += len(one.prompts)
    joined = {
        rarity: [pair for one in sets if one.rarity == rarity for pair in of_set[one.name]] for rarity in RARITIES
    }
    table: dict[str, Clusters] = {}
    for name, pairs in {**joined, **of_set, OPEN: of_set[f"{OPEN}, single"]}.items():
        right = [measures.success(prompt, reading) for prompt, reading in pairs]
        table[f"right: {name}"] = right
        table[f"all seeds right: {name}"] = [values.min(keepdims=True) for values in right]
        table[f"any seed right: {name}"] = [values.max(keepdims=True) for values in right]
        table[f"pair_vendi: {name}"] = _each(lambda _, reading: measures.pair_vendi(reading), pairs)
        table[f"distinct_values: {name}"] = _each(measures.distinct_values, pairs)
        table[f"confidence: {name}"] = [measures.confidence(prompt, reading) for prompt, reading in pairs]
    return table


def _each(measure: Callable[[str, Reading], float], pairs: Sequence[tuple[str, Reading]]) -> Clusters:
    return [np.array([measure(prompt, reading)]) for prompt, reading in pairs]


def _with_difference(values: Clusters, base: Clusters) -> dict[str, Any]:
    difference = bootstrap([a - b for a, b in zip(values, base, strict=True)])
    return {**asdict(bootstrap(values)), "difference": asdict(difference), "prompts": len(values)}


def _kernel_distance(own: KernelSums, base: KernelSums) -> dict[str, Any]:
    prompts = len(own.made)
    weights = np.random.default_rng(0).multinomial(prompts, np.full(prompts, 1 / prompts), size=_KERNEL_RESAMPLES)
    every = np.ones(prompts)
    drawn = np.array([[own.distance(w), base.distance(w)] for w in weights.astype(np.float64)])
    values = _interval(own.distance(every), drawn[:, 0])
    difference = _interval(own.distance(every) - base.distance(every), drawn[:, 0] - drawn[:, 1])
    return {**asdict(values), "difference": asdict(difference), "prompts": prompts}


def _interval(mean: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(mean=mean, low=float(low), high=float(high))
