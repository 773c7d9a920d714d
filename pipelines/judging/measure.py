"""How well a rule tells good images from bad ones, with 95 % intervals over prompts.

Images of a prompt are alike, so that prompts are resampled, and a threshold is measured on prompts that it was not
chosen on. Tensor names: N images, P prompts, R resamplings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.statistics import Estimate, bootstrap, share
from pipelines.config.expression_values import Values
from pipelines.judging.labelled import Labelled

_RESAMPLES = 1000
_FOLDS = 5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a rule keeps."""

    precision: Estimate | None
    """Share of good images among those that it keeps; None where it keeps none."""
    recall: Estimate
    """Share of the good images that it keeps."""
    recall_by_rarity: dict[str, float]
    """The same of each rarity with good images."""
    images: int
    """How many it keeps."""


def kept(labelled: Labelled, keep_N: Bools, of_N: Bools) -> Kept:
    """What a rule keeps.

    labelled: the images.
    keep_N: which ones it keeps.
    of_N: which ones it judges at all.
    """
    good_N, prompt_N = labelled.good_N & of_N, labelled.prompt_N
    keep_N = keep_N & of_N
    rarities = np.array(labelled.rarity_N)
    return Kept(
        precision=_share(good_N, prompt_N, keep_N),
        recall=_share(keep_N, prompt_N, good_N) or Estimate(mean=0.0, low=0.0, high=1.0),
        recall_by_rarity={
            rarity: float(keep_N[good_N & (rarities == rarity)].mean())
            for rarity in sorted({*labelled.rarity_N})
            if rarity and (good_N & (rarities == rarity)).any()
        },
        images=int(keep_N.sum()),
    )


def numbers(values: Values) -> Floats:
    """float64 [N], NaN where a value is missing."""
    return np.array([np.nan if value is None else float(value) for value in values])


def threshold(values_N: Floats, good_N: Bools, precision: float) -> float | None:
    """The lowest value from which on the images are good with at least this precision; None where there is none.

    values_N: no NaN.
    good_N: their labels.
    precision: the wanted one.
    """
    order = np.argsort(-values_N, kind="stable")
    right = np.cumsum(good_N[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(np.diff(values_N[order]) != 0, True)
    good_enough = np.flatnonzero((right >= precision) & last_of_equals)
    return float(values_N[order][good_enough[-1]]) if len(good_enough) else None


def held_out(labelled: Labelled, values_N: Floats, precision: float) -> Bools:
    """Which images a threshold keeps that was chosen on the other prompts: each fifth of the prompts by the rest.

    labelled, values_N, precision: as above; NaN is not kept.
    """
    known_N, keep_N = ~np.isnan(values_N), np.zeros(len(values_N), dtype=bool)
    fold_N = _folds(labelled.prompt_N)
    for fold in range(_FOLDS):
        rest = known_N & (fold_N != fold)
        lowest = threshold(values_N[rest], labelled.good_N[rest], precision)
        if lowest is not None:
            keep_N |= known_N & (fold_N == fold) & (values_N >= lowest)
    return keep_N


def separation(labelled: Labelled, values_N: Floats) -> Estimate | None:
    """The chance that a good image has a higher value than a bad one (the area under the ROC curve); None where all
    that have a value are of one label."""
    known_N = ~np.isnan(values_N)
    return _estimate(*_areas(labelled, values_N, known_N)) if _both(labelled.good_N[known_N]) else None


def gain(labelled: Labelled, values_N: Floats, base_N: Floats) -> Estimate | None:
    """By how much the separation is better than another rule's, on the images and the resamplings of both."""
    known_N = ~np.isnan(values_N) & ~np.isnan(base_N)
    if not _both(labelled.good_N[known_N]):
        return None
    own, all_own = _areas(labelled, values_N, known_N)
    base, all_base = _areas(labelled, base_N, known_N)
    return _estimate(own - base, all_own - all_base)


def _both(good: Bools) -> bool:
    return bool(good.any() and not good.all())


def _estimate(mean: float, resampled_R: Floats) -> Estimate:
    low, high = np.nanquantile(resampled_R, (0.025, 0.975))
    return Estimate(mean=mean, low=float(low), high=float(high))


def _areas(labelled: Labelled, values_N: Floats, known_N: Bools) -> tuple[float, Floats]:
    """The area under the ROC curve, and the same of each resampling of prompts, NaN where it has one label only."""
    _, level_N = np.unique(values_N[known_N], return_inverse=True)
    good_N, prompt_N = labelled.good_N[known_N], labelled.prompt_N[known_N]
    prompts, prompt_N = np.unique(prompt_N, return_inverse=True)
    draws = np.random.default_rng(0).integers(len(prompts), size=(_RESAMPLES, len(prompts)))
    weights_RP = np.stack([np.bincount(draw, minlength=len(prompts)) for draw in draws])
    levels = int(level_N.max()) + 1

    def area(weight_P: NDArray[np.int64]) -> float:
        weight_N = weight_P[prompt_N].astype(np.float64)
        right = np.bincount(level_N[good_N], weight_N[good_N], minlength=levels)
        wrong = np.bincount(level_N[~good_N], weight_N[~good_N], minlength=levels)
        pairs = right.sum() * wrong.sum()
        below = np.cumsum(wrong) - wrong / 2
        return float((right * below).sum() / pairs) if pairs else float("nan")

    return area(np.ones(len(prompts), dtype=np.int64)), np.array([area(weight_P) for weight_P in weights_RP])


def _folds(prompt_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fifth of the prompts that each image is of; prompts are dealt at random, the same each time."""
    fold_P = np.random.default_rng(0).permutation(int(prompt_N.max()) + 1) % _FOLDS
    folds: NDArray[np.int64] = fold_P[prompt_N]
    return folds


def _share(counted_N: Bools, prompt_N: NDArray[np.int64], among_N: Bools) -> Estimate | None:
    """Share of `counted_N` among some images. Where all or none are counted, resampling would see no spread, and the
    interval is Wilson's with the prompts as trials."""
    if not among_N.any():
        return None
    clusters: Sequence[Floats] = [
        counted_N[among_N & (prompt_N == prompt)].astype(np.float64) for prompt in np.unique(prompt_N[among_N])
    ]
    counted = counted_N[among_N]
    if _both(counted):
        return bootstrap(clusters)
    return share(len(clusters) if counted.all() else 0, len(clusters))
