"""Quotas on an invented world: what each way to spend the budget takes to fill them, and what they cost the driver.

    python jobs/bench.py quotas
    python jobs/bench.py quotas --concepts 100000 --accepted 4 --only bandit

No model runs. A concept has a number of modes; an arm shows some of them, and its pictures pass the judge with some
probability; pictures of a mode have one vector. Planning, folding and the choice of groups are the job's own. The
ratios hold for this world, and not for a model. "stock" is one arm, "uniform" all of them in turn.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config.load import build
from pipelines.config.quota import Quota
from pipelines.config.run import RunConfig
from pipelines.dataset.run_json import Segment
from pipelines.dataset.storage import Storage
from pipelines.plan.survey import Survey
from pipelines.plan.variants import Variants
from pipelines.plan.write import Tally
from pipelines.quota import census
from pipelines.quota.budget import Ask, ask
from pipelines.quota.rounds import write_round
from pipelines.quota.shard import Made
from pipelines.quota.state import State

ARMS = ("base", "tora", "repulsion", "both")
PASSES = {"common": (0.9, 0.8, 0.85, 0.75), "rare": (0.08, 0.35, 0.06, 0.3), "unseen": (0.02, 0.12, 0.02, 0.15)}
"""Kind of a concept -> the share of valid pictures of each arm."""
REACH = (0.25, 0.25, 0.8, 0.8)
"""The share of a concept's modes that each arm shows."""
MODES = 60
_KINDS = tuple(PASSES)
_DIM = 32
_SIZE = 4
_GROUPS_AT_A_TIME = 4096
_POLICIES = ("stock", "uniform", "bandit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--concepts", type=int, default=300)
    parser.add_argument("--accepted", type=int, default=10, help="images for each concept")
    parser.add_argument("--most-groups", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="how often each is tried")
    parser.add_argument("--only", choices=_POLICIES, help="try one of them")


class World(Protocol):
    """What makes pictures, and judges them."""

    tables: Mapping[str, Any]
    """Of the run's config: group, arms, and others."""
    prompts: Sequence[tuple[str, str]]
    """Text and concept of each prompt; those of a concept follow each other."""

    def begin(self) -> None:
        """The quotas are filled from nothing."""

    def draw(self, state: State, asked: Ask, prompt_ids: list[str]) -> tuple[Made, NDArray[np.bool_]]:
        """Groups as the model and the judge make them, and which of their images are right.

        state: what was made so far.
        asked: the groups.
        prompt_ids: of their prompts.
        """


@dataclass(kw_only=True)
class Filled:
    """What filling the quotas took."""

    images: NDArray[np.int64]
    """Images made for each concept."""
    work: NDArray[np.float64]
    """What they took: denoising steps times pixels, as a multiple of an image's with the run's own sampling."""
    accepted: NDArray[np.int64]
    """Images accepted of each concept."""
    right: NDArray[np.int64]
    """Those of them that are right."""
    rounds: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"choose": 0.0, "plan": 0.0, "fold": 0.0})
    """CPU seconds of the driver."""


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    before = _memory()
    for policy in (options.only,) if options.only else _POLICIES:
        found = [_invented(options, policy, seed) for seed in range(options.seeds if not options.only else 1)]
        _say(policy, found, options, _memory() - before)
    return 0


def _memory() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(policy: str, found: list[Filled], options: argparse.Namespace, memory: float) -> None:
    images, accepted = (np.mean([getattr(one, name) for one in found], axis=0) for name in ("images", "accepted"))
    kinds = np.arange(options.concepts) % len(_KINDS)
    print(f"{policy}: {images.sum():,.0f} images, {accepted.sum():,.0f} of {options.accepted * len(images):,} accepted")
    same = np.mean([one.images.max() * len(images) for one in found])
    print(f"  with as many for every concept as the neediest takes: {same:,.0f} images")
    for number, kind in enumerate(_KINDS):
        made, good = images[kinds == number].sum(), accepted[kinds == number].sum()
        met = np.mean([(one.accepted[kinds == number] >= options.accepted).mean() for one in found])
        print(f"  {kind:<8}{good / made:7.3f} accepted per image made, {met:4.0%} met")
    cost = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found[-1].seconds.items())
    print(f"  the driver's CPU over {found[-1].rounds} rounds: {cost}; {memory:,.0f} MiB of memory in all", flush=True)


def _invented(options: argparse.Namespace, policy: str, seed: int) -> Filled:
    quota = Quota(
        accepted=options.accepted,
        most_groups=options.most_groups,
        candidates=("base",) if policy == "stock" else ARMS,
        budget="bandit" if policy == "bandit" else "uniform",
    )
    names = [f"concept {number}" for number in range(options.concepts)]
    return fill(_Invented(prompts=[(name, name) for name in names], seed=seed), quota, seed)


def fill(world: World, quota: Quota, seed: int) -> Filled:
    """Fill the quotas of a world.

    world: makes the pictures.
    quota: with the arms that may be taken.
    seed: of the run.
    """
    world.begin()
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), world, seed)
        arms, size, variants = [arm.name for arm in config.arms], config.group.size, Variants(config)
        numbers = [arms.index(name) for name in quota.candidates]
        ids = np.array([prompt.prompt_id for prompt in _prompts(config)])
        state = State(census.take(config, quota, _prompts(config), variants), quota, arms)
        output = Storage.open(config.run.output)
        segments: tuple[Segment, ...] = ()
        nothing = np.zeros(len(state.census.names), np.int64)
        result = Filled(images=nothing, work=np.zeros(len(nothing)), accepted=nothing, right=nothing)
        while True:
            with _Timed(result, "choose"):
                asked = ask(state, numbers, group_size=size, seed=seed, round_number=result.rounds)
            if not len(asked.arm_G):
                break
            with _Timed(result, "plan"):
                prompts = _prompts(config)
                planned = write_round(config, output, segments, prompts, asked, state.census, state.groups_P)
                segments = (*segments, planned)
            state.begin_round()
            for start in range(0, len(asked.arm_G), _GROUPS_AT_A_TIME):
                part = Ask(
                    prompt_G=asked.prompt_G[start : start + _GROUPS_AT_A_TIME],
                    arm_G=asked.arm_G[start : start + _GROUPS_AT_A_TIME],
                )
                made, right_N = world.draw(state, part, ids[part.prompt_G].tolist())
                with _Timed(result, "fold"):
                    reasons, _ = state.add(made, 0)
                taken_N = made.passed_N & np.array([reason is None for reason in reasons]) & right_N
                concept_N = state.census.quota_P[part.prompt_G][made.place_N]
                result.right = result.right + np.bincount(concept_N[taken_N], minlength=len(nothing))
            result.rounds += 1
        return replace(
            result,
            images=state.images_KA.sum(1).astype(np.int64),
            work=size * state.spent_KA.sum(1),
            accepted=state.distinct.count_K.astype(np.int64),
        )


class _Timed:
    def __init__(self, result: Filled, part: str) -> None:
        self._result, self._part = result, part

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *error: object) -> None:
        self._result.seconds[self._part] += time.process_time() - self._began


def _config(folder: Path, world: World, seed: int) -> RunConfig:
    lines = ["prompt,concept", *(f"{text},{concept}" for text, concept in world.prompts)]
    (folder / "prompts.csv").write_text("".join(f"{line}\n" for line in lines))
    table: dict[str, Any] = {
        "run": {"output": str(folder / "out"), "seed": seed},
        "prompts": {"path": str(folder / "prompts.csv")},
        "model": {"path": "owner/model", "dtype": "float32"},
        "scoring": {"model": "ViT-B-32", "pretrained": "openai"},
        **world.tables,
    }
    return build(table, file="the benchmark")


def _prompts(config: RunConfig) -> Any:
    return Tally(Survey(config)).good_prompts(config)


@dataclass(kw_only=True)
class _Invented:
    """A world that no model draws."""

    prompts: Sequence[tuple[str, str]]
    seed: int
    tables: Mapping[str, Any] = field(
        default_factory=lambda: {"group": {"size": _SIZE}, "arms": [{"name": name} for name in ARMS]}
    )

    def begin(self) -> None: ...

    def draw(self, state: State, asked: Ask, prompt_ids: list[str]) -> tuple[Made, NDArray[np.bool_]]:
        rng = np.random.default_rng([self.seed, int(state.groups_KA.sum())])
        quota_N = np.repeat(state.census.quota_P[asked.prompt_G], _SIZE)
        arm_N = np.repeat(asked.arm_G, _SIZE)
        passes = np.array([PASSES[kind] for kind in _KINDS])
        # Where a concept is a pair of arms' weaknesses: a third of the rare ones want another arm than the others.
        shifted = (quota_N // len(_KINDS)) % 3 == 0
        chance_N = passes[quota_N % len(_KINDS), np.where(shifted & (arm_N > 0), 4 - arm_N, arm_N)]
        modes_N = (rng.random(len(quota_N)) * np.array(REACH)[arm_N] * MODES).astype(np.int64)
        centres = np.random.default_rng(0).normal(size=(MODES, _DIM))
        vectors = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float16)
        passed_N = rng.random(len(quota_N)) < chance_N
        arms = [ARMS[arm] for arm in asked.arm_G]
        return made_of(prompt_ids, arms, passed_N, vectors[modes_N]), passed_N


def made_of(
    prompt_ids: list[str], arms: list[str], passed_N: NDArray[np.bool_], vectors_ND: NDArray[np.float16]
) -> Made:
    """A shard of groups of one size.

    prompt_ids, arms: of each group.
    passed_N, vectors_ND: of their images, as in `Made`.
    """
    images, groups = len(passed_N), len(arms)
    return Made(
        groups=pa.table({"group_id": [str(number) for number in range(groups)], "prompt_id": prompt_ids, "arm": arms}),
        place_N=np.repeat(np.arange(groups), images // groups),
        passed_N=passed_N,
        images=pa.table(
            {
                "image_id": [str(number) for number in range(images)],
                "drop_reason": pa.nulls(images, pa.string()),
                "duplicate_of": pa.nulls(images, pa.string()),
            }
        ),
        vectors_ND=vectors_ND,
        settled=True,
    )
