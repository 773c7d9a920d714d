"""A batch divided over 2 and 4 ranks, in every mode and with every intervention, against one process."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import bench
from jobs.benchmarks import parallel
from models.errors import ModelError
from models.families import FAMILIES
from models.families.base import Family
from models.generator import Generator
from models.interventions.cads import CadsConfig
from models.interventions.dave import DaveConfig
from models.interventions.guidance_interval import GuidanceIntervalConfig
from models.interventions.particle_guidance import ParticleGuidanceConfig
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.parallel.division import Division, division
from models.parallel.shards import Axis
from models.spec import Group, ModelSpec, Sampling
from tests.support.ranks import Batch, Made, Shape, divided, make
from tests.support.toys import pipelines as toys

FORGOTTEN = 0.01
"""What a forgotten collective does at the least to some pixel, of -1 to 1."""
SHARE = 2e-3
"""Of what a forgotten collective does, the most that ranks may be off. Rounding differs from processor to processor,
and toy models enlarge it, without any intervention too: up to 3e-5 here. A fixed bound would hang on that."""
STEPS = 3
PROMPTS = ("a red star over a blue moon at dusk", "a dot")
"""The first reaches into the text of the second rank, wherever tokens are divided in two."""
SEEDS = (11, 12, 13)
IMAGES = len(PROMPTS) * len(SEEDS)
STRONG = RepulsionConfig(strength=10.0, max_displacement=0.5, branch="both", steps=(0.0, 1.0), blocks=(0.0, 1.0))
"""Strong enough for a forgotten collective to show at this size."""

ARMS: dict[str, dict[str, Any]] = {
    "stock": {},
    "tora": {"interventions": (ToraConfig(branch="both"),)},
    "repulsion": {"interventions": (STRONG,)},
    "both": {"interventions": (ToraConfig(), replace(STRONG, branch="cond"))},
    "dave": {"interventions": (DaveConfig(weight=0.0, steps=(0.0, 1.0)),)},
    "cads": {"interventions": (CadsConfig(),)},
    "guidance interval": {"interventions": (GuidanceIntervalConfig(),)},
    "particle guidance": {"interventions": (ParticleGuidanceConfig(),)},
}
ACTING = {"tora": ("tora",), "repulsion": ("repulsion",), "both": ("tora", "repulsion")}
"""Which interventions of an arm edit text."""
NEEDS_NO_OTHERS = {
    "context": ("stock", "cads", "guidance interval", "particle guidance"),
    "group": ("stock", "tora", "dave", "cads", "guidance interval"),
}
"""Arms whose blocks read nothing of the other ranks on an axis."""
STEPS_OF_BOTH = {"guidance interval": 2, "particle guidance": 3}
"""Steps in which both ranks of the cfg axis make both calls, where it is not the first one alone."""
MANY = ("sd3", "flux", "flux2-klein")
"""One family of each guidance layout that is divided with all arms; the others with the first four."""
DIVIDED = ("sd3", "flux", "flux2", "flux2-klein", "qwen-image")
"""Families that are divided along all axes; toy models have heads for two ranks of the context axis."""

BY_FOUR = ("sd3", "flux2-klein")
"""Those that are divided by four in every run of the tests: the guidance layouts with two branches."""

GAIN = {"sd3": 1.5, "flux2": 1.8, "flux2-klein": 1.2}
"""Of attention, where it is not 2.5: enough for text tokens to move each in its own way, so that part of a text does
not tell what the whole tells; and not so much that rounding grows to a share of that."""

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A toy pipeline, the batches that it makes, and what one process makes of them."""

    family: Family
    path: str
    arms: list[str]
    batches: list[Batch]
    alone: Made


@pytest.fixture(scope="module", params=DIVIDED)
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    family = next(family for family in FAMILIES if family.name == request.param)
    gain = GAIN.get(family.name, 2.5)
    path = toys.save(family.name, tmp_path_factory.mktemp(family.name), attention_gain=gain)
    generator = Generator(ModelSpec(path=path, dtype="float32", device="cpu"))
    sampling = Sampling(steps=STEPS, guidance_scale=3.0, width=16, height=16, max_sequence_length=63)
    arms = [*ARMS] if family.name in MANY else [*ARMS][:4]
    if family.layout == "distilled":
        arms = [arm for arm in arms if arm != "guidance interval"]
    batches = [
        [Group(prompt=prompt, seeds=SEEDS, sampling=sampling, **ARMS[arm]) for prompt in PROMPTS] for arm in arms
    ]
    return Toy(family=family, path=path, arms=arms, batches=batches, alone=make(generator, batches))


def largest(a: Made, b: Made) -> list[float]:
    return [float(np.abs(x - y).max()) for x, y in zip(a.images, b.images, strict=True)]


def divisions(ranks: int, family: Family) -> list[Division]:
    """All divisions among 2 or 4 ranks that the toy models allow."""
    guided = family.layout != "distilled"
    found = [
        Division(cfg=cfg, group=group, context=context)
        for cfg, group, context in product((1, 2), (1, 2, 4), (1, 2))
        if cfg * group * context == ranks and (guided or cfg == 1)
    ]
    return [*found, Division(context=4)] if ranks == 4 and family.name == "sd3" else found


@pytest.mark.parametrize(
    ("toy", "ranks"),
    [
        pytest.param(name, ranks, marks=[pytest.mark.soak] if ranks == 4 and name not in BY_FOUR else [])
        for name in DIVIDED
        for ranks in (2, 4)
    ],
    indirect=["toy"],
)
def test_ranks_make_what_one_process_makes(ranks: int, toy: Toy, tmp_path: Path) -> None:
    """The same ranks make them once more with a forgotten collective, which has to show."""
    shapes = [*(Shape(division=division) for division in divisions(ranks, toy.family)), *wrong(ranks)]
    made_by = divided(tmp_path, toy.path, shapes, toy.batches)
    off_by = [dict(zip(toy.arms, largest(made[0], toy.alone), strict=True)) for made in made_by]
    shown = what_shows(shapes, off_by)
    for shape, made, off in zip(shapes, made_by, off_by, strict=True):
        assert len(made[0].images[0]) == IMAGES
        print(f"{toy.family.name:<12}{shape}  " + "  ".join(f"{arm} {value:.1e}" for arm, value in off.items()))
        for arm, value in off.items():
            if arm in forgets(shape):
                assert value > FORGOTTEN
            else:
                assert value < SHARE * shown.get(arm, min(shown.values())), (shape, arm)
        if not shape.deaf:
            for rank in made:  # the ranks agree to the bit, or they would drift apart
                assert largest(rank, made[0]) == [0.0] * len(toy.arms)
                check_that_edits_have_the_same_numbers(rank, toy)
            check_shares(shape.division, made, toy)


def forgets(shape: Shape) -> set[str]:
    """The arms to which the collective matters that is left out."""
    return set(ARMS) - set(NEEDS_NO_OTHERS[shape.deaf]) if shape.deaf else set()


def what_shows(shapes: list[Shape], off_by: list[dict[str, float]]) -> dict[str, float]:
    """Arm -> the least that a forgotten collective does to it."""
    shown: dict[str, float] = {}
    for shape, off in zip(shapes, off_by, strict=True):
        for arm in forgets(shape) & off.keys():
            shown[arm] = min(off[arm], shown.get(arm, off[arm]))
    return shown


def check_that_edits_have_the_same_numbers(made: Made, toy: Toy) -> None:
    """Each once, whichever ranks make it."""
    for arm, ours, alone in zip(toy.arms, made.edits, toy.alone.edits, strict=True):
        for of_group, of_group_alone in zip(ours, alone, strict=True):
            assert of_group.keys() == of_group_alone.keys() == {*ACTING.get(arm, ())}
            for name, numbers in of_group.items():
                assert (numbers[..., 0] > 0).any((0, 1, 2)).all()
                np.testing.assert_allclose(numbers, of_group_alone[name], rtol=1e-2, atol=1e-6 * numbers.max())


def check_shares(shape: Division, made: list[Made], toy: Toy) -> None:
    """Each rank did its share and no more."""
    one_call = toy.family.layout == "one_call"
    for index, (_, tokens) in enumerate(toy.alone.text):
        rows = -(-IMAGES // shape.group) * (2 // shape.cfg if one_call else 1)
        assert {rank.text[index][0] for rank in made} == {rows}
        assert {rank.text[index][1] for rank in made} == set(Axis(size=shape.context).sizes(tokens))
    takes_turns = toy.family.layout == "two_calls" and shape.cfg == 2
    shared = sum(STEPS - STEPS_OF_BOTH.get(arm, 1) for arm in toy.arms)  # a rank makes one of their two calls
    calls = toy.alone.calls - shared if takes_turns else toy.alone.calls
    assert {rank.calls for rank in made} == {calls}


def wrong(ranks: int) -> list[Shape]:
    """Text that is divided by tokens, and not put together; a group on two ranks, each with its own samples only."""
    without_sum = Shape(division=Division(group=ranks // 2, context=2), deaf="context")
    return [without_sum, Shape(division=Division(group=4), deaf="group")] if ranks == 4 else [without_sum]


def test_divisions() -> None:
    assert division("context", 3, images=4, guided=True) == Division(context=3)
    assert division("group", 3, images=4, guided=True) == Division(group=3)
    assert division("cfg", 8, images=4, guided=True) == Division(cfg=2, group=4)
    with pytest.raises(ModelError, match="3 ranks cannot share"):
        division("cfg", 3, images=4, guided=True)
    with pytest.raises(ModelError, match="but there is one"):
        division("cfg", 2, images=4, guided=False)
    auto = {
        (ranks, images, guided): division("auto", ranks, images=images, guided=guided)
        for ranks, images, guided in product((1, 2, 4, 8), (1, 4), (True, False))
    }
    assert auto[4, 4, True] == Division(group=4)
    assert auto[8, 4, True] == Division(cfg=2, group=4)
    assert auto[2, 1, True] == Division(cfg=2)
    assert auto[8, 1, True] == Division(cfg=2, context=4)
    assert auto[8, 4, False] == Division(group=4, context=2)
    assert all(found.ranks == ranks for (ranks, _, _), found in auto.items())


def test_the_cost_model_says_which_mode_wins_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["parallel", "--images", "1", "4"]) == 0
    shown = capsys.readouterr().out
    assert all(model.name in shown for model in parallel.MODELS)
    assert re.findall(r"^ +(\d) +(\d)  \w", shown, re.MULTILINE) == [
        (images, gpus) for _ in parallel.MODELS for images in "14" for gpus in "1248"
    ]


def test_auto_is_near_the_best_of_the_cost_model() -> None:
    machine = parallel.Machine(flops=4e14, bandwidth=2.5e11, latency=3e-5)
    for model, gpus, images in product(parallel.MODELS, (2, 4, 8), (1, 2, 4, 32)):

        def seconds(one: Division, model: parallel.Model = model, images: int = images) -> float:
            return parallel.cost(model, one, images, machine, tora=True, repulsion=True).seconds

        chosen = division("auto", gpus, images=images, guided=model.branches == 2)
        assert chosen.ranks == gpus
        assert seconds(chosen) < 1.1 * min(seconds(one) for one in parallel.divisions(model, gpus))
        assert seconds(chosen) > seconds(Division()) / gpus  # nothing is won for nothing
