"""A batch divided over 2 and 4 ranks, in every mode and with every intervention, against one process."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import ModelError
from models.generator import Generator
from models.parallel.layout import Layout, layout
from models.parallel.shards import Axis
from models.spec import Group, ModelSpec, RepulsionConfig, Sampling, ToraConfig
from tests.ranks import Batch, Made, divided, make

TOLERANCE = 1e-4
ARMS: dict[str, dict[str, Any]] = {
    "stock": {},
    "tora": {"tora": ToraConfig(branch="both")},
    "repulsion": {"repulsion": RepulsionConfig(steps=(0.0, 1.0))},
    "both": {"tora": ToraConfig(), "repulsion": RepulsionConfig(steps=(0.0, 1.0))},
}
GUIDANCE = (3.0, 1.0)
LAYOUTS = {
    "group of 2": Layout(group=2),
    "cfg of 2": Layout(cfg=2),
    "context of 2": Layout(context=2),
    "group of 4": Layout(group=4),
    "cfg of 4": Layout(cfg=2, group=2),
    "context of 4": Layout(context=4),
    "cfg and context of 4": Layout(cfg=2, context=2),
}
TEXT = 16 + 5
IMAGES = 6


def batches() -> list[Batch]:
    """Two groups of three images each; neither images nor tokens divide evenly by 4."""
    made = []
    for guidance, arm in product(GUIDANCE, ARMS.values()):
        sampling = Sampling(steps=2, guidance_scale=guidance, width=16, height=16, max_sequence_length=TEXT - 16)
        made.append(
            [
                Group(prompt="a red star", seeds=(11, 12, 13), sampling=sampling, **arm),
                Group(prompt="a dot", seeds=(21, 22, 23), sampling=sampling, **arm),
            ]
        )
    return made


@pytest.fixture(scope="module")
def generator(tiny_pipeline: str) -> Generator:
    return Generator(ModelSpec(path=tiny_pipeline, dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def alone(generator: Generator) -> Made:
    """What one process makes."""
    return make(generator, batches())


def largest(a: Made, b: Made) -> list[float]:
    return [float(np.abs(x - y).max()) for x, y in zip(a.images, b.images, strict=True)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_ranks_make_what_one_process_makes(name: str, alone: Made, tiny_pipeline: str, tmp_path: Path) -> None:
    shape = LAYOUTS[name]
    ranks = divided(tmp_path, tiny_pipeline, shape, batches())
    assert ranks[0].images[0].shape == (IMAGES, 3, 16, 16)
    for rank in ranks:
        for (guidance, arm), difference in zip(product(GUIDANCE, ARMS), largest(rank, alone), strict=True):
            assert difference < TOLERANCE, (name, arm, guidance)
        # The ranks agree to the bit, or they would drift apart.
        assert largest(rank, ranks[0]) == [0.0] * len(rank.images)
    # Each did its share and no more.
    for index, (guidance, _) in enumerate(product(GUIDANCE, ARMS)):
        branches = 2 // shape.cfg if guidance > 1 else 1
        assert {rank.text[index][0] for rank in ranks} == {branches * -(-IMAGES // shape.group)}
        assert sorted({rank.text[index][1] for rank in ranks}) == sorted(set(Axis(size=shape.context).sizes(TEXT)))
    worst = {arm: max(largest(ranks[0], alone)[i :: len(ARMS)]) for i, arm in enumerate(ARMS)}
    print(f"sd3  {name:<22}" + "  ".join(f"{arm} {value:.1e}" for arm, value in worst.items()))


@pytest.mark.parametrize("axis", ["context", "group"])
def test_a_forgotten_collective_shows(axis: str, generator: Generator, tiny_pipeline: str, tmp_path: Path) -> None:
    one_group = [batch[:1] for batch in batches()[: len(ARMS)]]
    (first, *_) = divided(tmp_path, tiny_pipeline, Layout(**{axis: 2}), one_group, deaf=axis)
    wrong = dict(zip(ARMS, largest(first, make(generator, one_group)), strict=True))
    assert min(wrong["repulsion"], wrong["both"]) > 10 * TOLERANCE
    assert max(wrong["stock"], wrong["tora"]) < TOLERANCE  # which need no other samples


def test_settings_that_do_nothing_are_the_stock_pipeline_on_ranks_too(tiny_pipeline: str, tmp_path: Path) -> None:
    stock = batches()[0]
    nothing = [replace(group, repulsion=RepulsionConfig(strength=0.0)) for group in stock]
    for rank in divided(tmp_path, tiny_pipeline, Layout(group=2), [stock, nothing]):
        assert np.array_equal(*rank.images)


def test_layouts() -> None:
    assert layout("context", 3, images=4, guided=True) == Layout(context=3)
    assert layout("group", 3, images=4, guided=True) == Layout(group=3)
    assert layout("cfg", 8, images=4, guided=True) == Layout(cfg=2, group=4)
    with pytest.raises(ModelError, match="3 ranks cannot share"):
        layout("cfg", 3, images=4, guided=True)
    auto = {
        (ranks, images, guided): layout("auto", ranks, images=images, guided=guided)
        for ranks, images, guided in product((1, 2, 4, 8), (1, 4), (True, False))
    }
    assert auto[4, 4, True] == Layout(group=4)
    assert auto[8, 4, True] == Layout(cfg=2, group=4)
    assert auto[2, 1, True] == Layout(cfg=2)
    assert auto[8, 1, True] == Layout(cfg=2, context=4)
    assert auto[8, 4, False] == Layout(context=8)
    assert all(found.ranks == ranks for (ranks, _, _), found in auto.items())
