"""Repulsion's settings mean the same in every family: they are relative to the text that they act on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.embedded import SAMPLING, WEIGHTS
from models.generator import Generator
from models.interventions.repulsion import groups as groups_of_call
from models.interventions.repulsion import push
from models.interventions.repulsion.config import RepulsionConfig
from models.spec import Group, ModelSpec, Sampling
from tests.support.toys import pipelines as toys

TOY = Sampling(steps=4, guidance_scale=4.0, width=16, height=16, max_sequence_length=63)
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module", params=["sd3", "flux", "qwen-image", "embedded"])
def made_by(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Group]:
    embedded = request.param == "embedded"
    path = str(WEIGHTS / "pipeline") if embedded else toys.save(request.param, tmp_path_factory.mktemp("toy"))
    sampling = SAMPLING if embedded else TOY
    return Generator(ModelSpec(path=path, dtype="float32", device="cpu")), Group(
        prompt="a red star", seeds=SEEDS, sampling=sampling
    )


def moved(
    made_by: tuple[Generator, Group], config: RepulsionConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """Of each group in each block: the displacement and, afterwards, the spread, both relative to the tokens' norm."""
    generator, group = made_by
    displaced: list[Tensor] = []
    spread: list[Tensor] = []

    def length(tokens_GBND: Tensor) -> Tensor:
        return tokens_GBND.flatten(2).square().sum(-1).mean(-1).sqrt()

    repel = push.repel

    def watch(tokens_GBND: Tensor, *rest: Any) -> Tensor:
        pushed = repel(tokens_GBND, *rest)
        displaced.append(length(pushed - tokens_GBND) / length(tokens_GBND))
        spread.append(length(pushed - pushed.mean(1, keepdim=True)) / length(pushed))
        return pushed

    monkeypatch.setattr(groups_of_call, "repel", watch)
    generator.generate(
        [Group(prompt=group.prompt, seeds=group.seeds, sampling=group.sampling, interventions=(config,))]
    )
    return torch.cat(displaced), torch.cat(spread)


def test_a_strong_push_goes_as_far_as_the_cap(
    made_by: tuple[Generator, Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    displaced, _ = moved(made_by, RepulsionConfig(strength=10.0, max_displacement=0.02), monkeypatch)
    print(f"{displaced.min():.4f} to {displaced.max():.4f}, median {displaced.median():.4f}")
    assert displaced.max() < 0.0201
    assert displaced.median() > 0.0199


def test_without_a_cap_it_ends_at_right_angles(
    made_by: tuple[Generator, Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B vectors at right angles are (1 - 1 / B)^(1/2) of their length away from their mean."""
    _, spread = moved(made_by, RepulsionConfig(strength=10.0, max_displacement=1e9), monkeypatch)
    print(f"{spread.min():.4f} to {spread.max():.4f}")
    assert (spread - (1 - 1 / len(SEEDS)) ** 0.5).abs().median() < 0.02
