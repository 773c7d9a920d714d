"""Quotas on the embedded model distilled to four steps: distinct right images per denoising step, and what brings them.

    python jobs/bench.py quotas-embedded

The quotas are for rare and never-seen pairs; clip_margin judges, and the oracle says which accepted images are right.
"stock" makes as many groups for every concept, at the cost of all arms with quotas; what a concept has above its quota
does not count. Each group of a concept and arm is made once, whoever asks for it.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jobs.benchmarks.quotas import Filled, fill, made_of
from models.embedded import TURBO, TURBO_SAMPLING, WEIGHTS, measures
from models.embedded.oracle import Oracle
from models.embedded.promptset import WorldPrompt, world_prompts
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.scorers.clip import ClipScorer
from models.seeds import image_seed
from models.spec import Dtype, Group, InterventionConfig, ModelSpec
from models.statistics import Estimate
from pipelines.config.quota import Quota
from pipelines.evaluation.prompts import thinned
from pipelines.quota.budget import Ask
from pipelines.quota.shard import Made
from pipelines.quota.state import State

_INTERVENTIONS: dict[str, tuple[InterventionConfig, ...]] = {
    "stock": (),
    "tora": (ToraConfig(),),
    "repulsion": (RepulsionConfig(),),
    "both": (ToraConfig(), RepulsionConfig()),
}
_POLICIES = {
    "quotas, stock": ("stock",),
    "quotas, TORA": ("tora",),
    "quotas, repulsion": ("repulsion",),
    "quotas, both": ("both",),
    "quotas, all arms": tuple(_INTERVENTIONS),
}
_GROUPS_PER_BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--concepts", type=int, default=12, help="of each rarity, of single things and of relations each"
    )
    parser.add_argument("--accepted", type=int, default=12, help="images for each concept")
    parser.add_argument("--most-groups", type=int, default=24)
    parser.add_argument("--margin", type=float, default=0.05, help="least clip_margin of an accepted image")
    parser.add_argument("--distinct-similarity", type=float, default=0.93)
    parser.add_argument("--seeds", type=int, default=1, help="how often each is tried")
    parser.add_argument("--dtype", default="auto", help="of the model")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    prompts = [
        prompt
        for rarity in ("rare", "unseen")
        for one in world_prompts(rarity).values()
        for prompt in thinned(one, options.concepts)
    ]
    print(f"{len(prompts)} concepts, {options.accepted} images each, at most {options.most_groups} groups of 4")
    found: dict[str, list[Filled]] = defaultdict(list)
    for seed in range(options.seeds):
        world = _Embedded(prompts, seed, options.margin, options.dtype)
        quota = Quota(
            accepted=options.accepted,
            most_groups=options.most_groups,
            distinct_similarity=options.distinct_similarity,
        )
        for name, candidates in _POLICIES.items():
            filled = fill(world, replace(quota, candidates=candidates), seed)
            found[name].append(filled)
            print(f"seed {seed}, {name}: {filled.right.sum()} right of {filled.images.sum()} made", flush=True)
        # The plain way: as many groups for every concept, at the cost of the last policy.
        groups = max(1, round(int(found["quotas, all arms"][-1].images.sum()) / (len(prompts) * world.size)))
        spread = replace(quota, candidates=("stock",), most_groups=groups, budget="uniform")
        images = np.full(len(prompts), groups * world.size)
        found["stock, as many of each"].append(replace(fill(world, spread, seed), images=images))
    _say(found, options.accepted)
    return 0


def _say(found: dict[str, list[Filled]], asked: int) -> None:
    plain = found["stock, as many of each"]
    print(
        "| | images made | accepted | right | quotas met, % | right per image made | ratio to stock, as many of each |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, filled in found.items():
        images, accepted, right = (
            sum(getattr(one, of).sum() for one in filled) for of in ("images", "accepted", "right")
        )
        met = np.mean([one.accepted >= asked for one in filled])
        print(
            f"| {name} | {images:,} | {accepted:,} | {right:,} | {100 * met:.0f} | {right / images:.3f} "
            f"| {_ratio(filled, plain)} |"
        )


def _ratio(ours: Sequence[Filled], plain: Sequence[Filled]) -> str:
    """Ratio of right images per image made, with its 95 % interval from resampling concepts."""
    sums = [[sum(getattr(one, of) for one in side) for of in ("right", "images")] for side in (ours, plain)]
    concepts = len(sums[0][0])
    weights = np.random.default_rng(0).multinomial(concepts, np.full(concepts, 1 / concepts), size=2000)

    def ratio(weight: NDArray[np.int64]) -> NDArray[np.float64]:
        (right, images), (plain_right, plain_images) = [[weight @ one for one in side] for side in sums]
        value: NDArray[np.float64] = (right / images) / (plain_right / plain_images)
        return value

    low, high = np.quantile(ratio(weights), (0.025, 0.975))
    return str(Estimate(mean=float(ratio(np.ones(concepts, np.int64))), low=float(low), high=float(high)))


class _Embedded:
    """The distilled embedded model, its scorer as the judge, and the oracle."""

    arms = tuple(_INTERVENTIONS)
    size = 4

    def __init__(self, prompts: Sequence[WorldPrompt], seed: int, margin: float, dtype: Dtype) -> None:
        self.texts: Sequence[str] = [prompt.prompt for prompt in prompts]
        self._prompts, self._seed, self._margin = prompts, seed, margin
        self._generator = Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype=dtype, loras=(TURBO,)))
        self._scorer = ClipScorer(f"local-dir:{WEIGHTS / 'clip'}")
        self._oracle = Oracle()
        self._made: dict[tuple[int, int, int], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float16]]] = {}
        self._drawn: Counter[int] = Counter()

    def begin(self) -> None:
        self._drawn.clear()

    def draw(self, state: State, asked: Ask, prompt_ids: list[str]) -> tuple[Made, NDArray[np.bool_]]:
        keys = []
        for prompt, arm in zip(asked.prompt_G.tolist(), asked.arm_G.tolist(), strict=True):
            # As in a run, a prompt's groups have other noise each, whatever their arms.
            keys.append((prompt, arm, self._drawn[prompt]))
            self._drawn[prompt] += 1
        for arm in range(len(self.arms)):
            missing = [key for key in keys if key[1] == arm and key not in self._made]
            for start in tqdm(range(0, len(missing), _GROUPS_PER_BATCH), desc=self.arms[arm], leave=False):
                self._make(missing[start : start + _GROUPS_PER_BATCH])
        passed, right, vectors = zip(*(self._made[key] for key in keys), strict=True)
        arms = [self.arms[arm] for arm in asked.arm_G]
        return made_of(prompt_ids, arms, np.concatenate(passed), np.concatenate(vectors)), np.concatenate(right)

    def _make(self, keys: Sequence[tuple[int, int, int]]) -> None:
        groups = [
            Group(
                prompt=self.texts[prompt],
                seeds=tuple(
                    image_seed(self._seed, f"{number} {self.texts[prompt]}", index) for index in range(self.size)
                ),
                sampling=TURBO_SAMPLING,
                interventions=_INTERVENTIONS[self.arms[arm]],
            )
            for prompt, arm, number in keys
        ]
        for key, images in zip(keys, self._generator.generate(groups), strict=True):
            prompt = self._prompts[key[0]]
            vectors = self._scorer.embed_images(images)
            texts = self._scorer.embed_texts([prompt.prompt, str(prompt.counterfactual)])
            margin = vectors @ (texts[0] - texts[1])
            right = measures.success(prompt.prompt, self._oracle.read(images)) == 1
            self._made[key] = (margin > self._margin, right, vectors.astype(np.float16))
