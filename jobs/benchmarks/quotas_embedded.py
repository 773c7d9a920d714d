"""Quotas on the embedded model distilled to four steps: distinct right images for the work of denoising.

    python jobs/bench.py quotas-embedded

The quotas are for rare and never-seen pairs; clip_margin judges, and the oracle says which accepted images are right.
The plain way is the stock arm with as many images of each concept, at the same work; what a concept has above its quota
does not count. Work is forward passes at one size. Each group of a prompt and arm is made once, whoever asks for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.benchmarks.quotas import Filled, fill
from jobs.benchmarks.quotas_world import ARMS, Embedded, Evenly, Judged, Studio, longer_rows, plain_rows
from models.embedded import TURBO_SAMPLING
from models.embedded.promptset import world_prompts
from models.statistics import Estimate
from pipelines.config.quota import Quota
from pipelines.evaluation.prompts import thinned

Floats = NDArray[np.float64]


class _Policy(NamedTuple):
    name: str
    longer: bool
    """Whether the prompts are longer texts."""
    arms: tuple[str, ...]
    bandit: bool = True


_ALL = tuple(str(arm["name"]) for arm in ARMS)
_ONE_BY_ONE = tuple(name for name in _ALL if name != "repulsion")  # each picture has a text of its own there
_POLICIES = (
    _Policy("quotas, stock", False, ("stock",)),
    _Policy("quotas, longer texts", True, ("stock",)),
    _Policy("quotas, longer texts, half as many steps", True, ("half",)),
    _Policy("quotas, longer texts, all arms", True, _ONE_BY_ONE),
    _Policy("quotas, longer texts, all arms in turn", True, _ONE_BY_ONE, bandit=False),
    _Policy("quotas, half as many steps", False, ("half",)),
    _Policy("quotas, repulsion", False, ("repulsion",)),
    _Policy("quotas, TORA", False, ("TORA",)),
    _Policy("quotas, all arms", False, _ALL),
    _Policy("quotas, all arms in turn", False, _ALL, bandit=False),
)
_COLUMNS = (
    "",
    "images",
    "passes",
    "accepted",
    "right",
    "quotas met, %",
    "right, as a multiple of the plain way's at the same work",
    "work of the plain way for as many",
    "images, if each concept had as many as the neediest",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--concepts", type=int, default=4, help="of each rarity, of single things and of relations each"
    )
    parser.add_argument("--accepted", type=int, default=12, help="images for each concept")
    parser.add_argument("--most-images", type=int, default=96, help="for each concept; then it is given up")
    parser.add_argument("--texts", type=int, default=48, help="longer texts of each concept")
    parser.add_argument("--margin", type=float, default=0.05, help="least clip_margin of an accepted image")
    parser.add_argument("--longer-margin", type=float, default=0.03, help="the same with a longer text")
    parser.add_argument("--distinct-similarity", type=float, default=0.93)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto", help="of the model")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    concepts = [
        prompt
        for rarity in ("rare", "unseen")
        for one in world_prompts(rarity).values()
        for prompt in thinned(one, options.concepts)
    ]
    print(f"{len(concepts)} concepts, {options.accepted} images each, at most {options.most_images} made for each")
    studio = Studio(seed=options.seed, dtype=options.dtype)
    short = Embedded(plain_rows(concepts), 4, studio, options.margin)
    longer = Embedded(longer_rows(concepts, options.texts, options.seed), 1, studio, options.longer_margin)
    limits = (options.most_images, options.accepted, options.distinct_similarity)
    plain = short.evenly("stock", *limits)
    for head in (_COLUMNS, ["---"] * len(_COLUMNS)):
        print(f"| {' | '.join(head)} |")
    each = 0.0
    for policy in _POLICIES:
        world = longer if policy.longer else short
        quota = Quota(
            accepted=options.accepted,
            most_groups=options.most_images // world.size,
            candidates=policy.arms,
            distinct_similarity=options.distinct_similarity,
            budget="bandit" if policy.bandit else "uniform",
        )
        filled = fill(world, quota, options.seed)
        _say(policy.name, filled, plain, options.accepted)
        if policy.name == "quotas, longer texts":
            each = float(filled.work.mean())
    for name, work_of_one, evenly in (
        ("stock, as many of each", 1.0, plain),
        ("longer texts, as many of each", 1.0, longer.evenly("stock", *limits)),
        ("half as many steps, as many of each", 0.5, short.evenly("half", *limits)),
    ):
        _say(name, _first(evenly, round(each / work_of_one), work_of_one), plain, options.accepted)
    _say_judges(studio.of_texts({row.text for row in longer.rows}), (options.margin, options.longer_margin))
    return 0


def _first(evenly: Evenly, images: int, work_of_one: float) -> Filled:
    """What came of the first so many images of each concept."""
    accepted, right = evenly[:, :, min(images, evenly.shape[2] - 1)]
    made = np.full_like(accepted, images)
    return Filled(images=made, work=made * work_of_one, accepted=accepted, right=right)


def _say(name: str, filled: Filled, plain: Evenly, asked: int) -> None:
    curve_KN = plain[1].astype(np.float64)
    values = (
        name,
        f"{filled.images.sum():,}",
        f"{TURBO_SAMPLING.steps * filled.work.sum():,.0f}",
        f"{filled.accepted.sum():,}",
        f"{filled.right.sum():,}",
        f"{100 * np.mean(filled.accepted >= asked):.0f}",
        _ratio(filled, curve_KN),
        _times(filled, curve_KN),
        f"{filled.images.max() * len(filled.images):,}",
    )
    print(f"| {' | '.join(values)} |", flush=True)


def _ratio(filled: Filled, curve_KN: Floats) -> str:
    """Right images, as a multiple of the plain way's at the same work; its 95 % interval from resampling concepts."""
    concepts = len(curve_KN)
    drawn = np.random.default_rng(0).multinomial(concepts, np.full(concepts, 1 / concepts), size=2000)

    def ratio(weight_K: NDArray[np.int64]) -> float:
        sums_N = weight_K @ curve_KN
        same = float(np.interp(weight_K @ filled.work / concepts, np.arange(len(sums_N)), sums_N))
        return float(weight_K @ filled.right / max(same, 1.0))

    low, high = np.quantile([ratio(weight_K) for weight_K in drawn], (0.025, 0.975))
    return str(Estimate(mean=ratio(np.ones(concepts, np.int64)), low=float(low), high=float(high)))


def _times(filled: Filled, curve_KN: Floats) -> str:
    """How many times the work the plain way takes for as many right images."""
    sums_N, right, work = curve_KN.sum(0), filled.right.sum(), filled.work.mean()
    if right > sums_N[-1]:
        return f"more than {(len(sums_N) - 1) / work:.1f} times"
    return f"{np.searchsorted(sums_N, right) / work:.1f} times"


def _say_judges(judged: Sequence[Judged], margins: Sequence[float]) -> None:
    """Images of longer texts, judged by these and by the prompts of their concepts."""
    right = np.concatenate([one.right_B for one in judged])
    for name, of in (("the longer", "margin_B"), ("the concept's", "plain_B")):
        for margin in margins:
            passed = np.concatenate([getattr(one, of) for one in judged]) > margin
            precision, recall = ((passed & right).sum() / one.sum() for one in (passed, right))
            print(f"{name} text, clip_margin > {margin}: precision {precision:.3f}, recall {recall:.3f}")
