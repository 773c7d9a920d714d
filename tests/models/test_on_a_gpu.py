"""On a real GPU: the methods to their bounds, no wait of the host, all families, and models loaded to save memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.families import FAMILIES
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.interventions.repulsion.reference import repel_by_autograd
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.last_change import LastChange
from models.interventions.tora.reference import align_by_svd
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import semantic_direction, space_and_align
from models.spec import Group, ModelSpec, Sampling
from models.tokens import Tokens
from tests.models.test_many_tokens import graded
from tests.models.test_repulsion import group as samples
from tests.support.family import BOTH, SEEDS, picture
from tests.support.toys import pipelines as toys

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no GPU"),
]


def selection_of(tokens: Tensor) -> TokenSelection:
    valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return TokenSelection.of(Tokens.of(valid, valid), ToraConfig())


@pytest.mark.parametrize("count", [16, 24, 40, 64, 65, 128, 333, 512])
def test_tora_equals_the_decomposition(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = ("2", "4", "8", "repeated", "deficient")
    tokens = torch.stack([graded(kind, count, generator) for kind in kinds]).float()
    direction = torch.randn(len(kinds), tokens.shape[-1], generator=generator)
    valid = torch.ones(len(kinds), count, dtype=torch.bool)
    expected = align_by_svd(tokens.double(), direction.double(), valid, ToraConfig())
    there = tokens.to(DEVICE)
    found = space_and_align(there, direction.to(DEVICE), selection_of(there), ToraConfig()).cpu()
    error = (found - expected).norm(dim=(1, 2)) / (expected - tokens).norm(dim=(1, 2))
    # Tokens of deficient rank have directions that only their rounding to float32 gives a length.
    assert (error < torch.tensor([5e-4 if kind == "deficient" else 1e-4 for kind in kinds])).all(), error


@pytest.mark.parametrize("size", [2, 4, 32, 64, 128])
def test_repulsion_equals_autograd(size: int) -> None:
    config = RepulsionConfig(strength=2.0, inner_steps=25, max_displacement=1e9)
    tokens = samples(size, 0.1).float()
    expected = repel_by_autograd(tokens.double(), config)
    error = (repel(tokens.to(DEVICE), config).cpu() - expected).norm() / (expected - tokens).norm()
    assert error < 1e-4


@contextmanager
def waits_are_errors() -> Iterator[None]:
    if DEVICE != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("count", [60, 333])
def test_the_host_waits_for_nothing(count: int) -> None:
    tokens = torch.randn(2, 8, count, 512, device=DEVICE)
    selection = selection_of(tokens[0])

    def both() -> None:
        direction = semantic_direction(tokens[0], tokens[1], selection, ToraConfig())
        space_and_align(tokens[0], direction, selection, ToraConfig())
        repel(tokens, RepulsionConfig())

    both()  # compiles the kernels
    with waits_are_errors():
        both()


@pytest.mark.parametrize("count", [60, 333])
def test_a_decomposition_beside_the_model_is_the_same(count: int) -> None:
    """Products that keep the device busy play the model's part, and memory is given away and taken meanwhile."""
    tokens = torch.randn(6, 8, count, 512, device=DEVICE)
    direction, selection = torch.randn(8, 512, device=DEVICE), selection_of(tokens[0])
    config = ToraConfig(lag_steps=1)
    side = 4096 if DEVICE == "cuda" else 16
    last, weights = LastChange(config), torch.randn(side, side, device=DEVICE)

    def all_steps() -> list[Tensor]:
        made = []
        for step, text in enumerate(tokens):
            made.append(space_and_align(text.clone(), direction, selection, config, partial(last.at, step)))
            for _ in range(20):
                weights.copy_(weights @ weights / 64.0)
        return made

    space_and_align(tokens[0], direction, selection, config)  # compiles the kernels
    with waits_are_errors():
        late = all_steps()
    changes: list[Tensor] = []

    def before(find: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        changes.append(find(rows))
        return changes[max(0, len(changes) - 2)]

    for text, found in zip(tokens, late, strict=True):
        assert torch.equal(found, space_and_align(text, direction, selection, config, before))


def make(folder: str, *, family: str, interventions: Any = (), pictures: int | None = None, **spec: Any) -> Tensor:
    """The images of a group, int [B, ...]; pictures: how many it has, if not as few as it needs."""
    generator = Generator(ModelSpec(path=folder, device=DEVICE, **spec))
    facts = generator._family
    side = max(16, facts.size_multiple(generator._pipe))
    sampling = Sampling(
        steps=2, guidance_scale=3.0, width=side, height=side, max_sequence_length=64, frames=1 + facts.frame_step
    )
    given = (picture(),) * (facts.pictures[0] if pictures is None else pictures)
    of = Group(prompt="a red star", seeds=SEEDS, sampling=sampling, pictures=given, interventions=interventions)
    first, again = (generator.generate([of])[0] for _ in range(2))
    assert (first == again).all(), family
    return torch.from_numpy(first).int()


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_every_family(family: str, tmp_path: Path) -> None:
    folder = toys.save(family, tmp_path)
    base = make(folder, family=family, dtype="bfloat16")
    changed = make(folder, family=family, dtype="bfloat16", **BOTH)
    assert changed.shape == base.shape
    assert (changed != base).any()


@pytest.mark.parametrize("settings", [{}, {"offload": "model"}])
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_image_to_image(family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = toys.save(family, tmp_path)
    base, made = (make(folder, family=family, dtype="bfloat16", pictures=count, **settings) for count in (0, 1))
    assert made.shape == base.shape
    assert (made != base).any()


@pytest.mark.parametrize(
    "settings", [{"offload": "model"}, {"offload": "group"}, {"weights": "float8"}, {"compile": True}]
)
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_models_that_are_loaded_in_another_way(family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = toys.save(family, tmp_path)
    gentle = (ToraConfig(), RepulsionConfig())
    plain, made = (
        make(folder, family=family, dtype="bfloat16", interventions=gentle, **more) for more in ({}, settings)
    )
    assert (made - plain).abs().float().mean() < 0.1 * plain.float().std()
