"""Contextual repulsion against autograd, and what must hold of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.interventions.repulsion.ascent import entropy_ascent
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.interventions.repulsion.reference import entropy, repel_by_autograd

UNCAPPED = RepulsionConfig(strength=2.0, inner_steps=25, max_displacement=1e9)


def group(samples: int, spread: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    common = 3 * torch.randn(1, 1, 6, 32, generator=generator, dtype=torch.float64)
    own: Tensor = spread * torch.randn(1, samples, 6, 32, generator=generator, dtype=torch.float64)
    return common + own


@pytest.mark.parametrize("samples", [2, 3, 8, 16, 64])
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-3])
def test_equals_autograd(samples: int, spread: float) -> None:
    tokens = group(samples, spread).float()
    expected = repel_by_autograd(tokens.double(), UNCAPPED)
    effect = (expected - tokens).norm()
    assert (repel(tokens, UNCAPPED) - expected).norm() < 1e-4 * effect
    # The reference itself takes logarithms of eigenvalues of about spread^2, known to float64's 1e-16.
    assert (repel(tokens.double(), UNCAPPED) - expected).norm() < max(1e-10, 1e-14 / spread**2) * effect
    assert entropy(expected[0].flatten(1)) > entropy(tokens[0].double().flatten(1))


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("spread", [0.3, 1e-3])
def test_leaps_are_the_single_steps(strength: float, spread: float) -> None:
    vectors = torch.cat([group(5, spread, seed) for seed in range(3)]).flatten(2)
    gram = vectors @ vectors.mT
    step = strength / 100 * gram.diagonal(dim1=1, dim2=2).mean(-1)
    exact, leapt = (entropy_ascent(gram, step, 100, every) for every in (True, False))
    assert ((leapt - exact) @ vectors).norm() < 2e-5 * (exact @ vectors).norm()
    alone = torch.cat([entropy_ascent(gram[i : i + 1], step[i : i + 1], 100, False) for i in range(3)])
    torch.testing.assert_close(alone, leapt, rtol=1e-9, atol=1e-9)


def test_two_equal_samples_beside_a_third_stay_together() -> None:
    tokens = group(3, 0.5).float()
    tokens[:, 1] = tokens[:, 0]
    pushed = repel(tokens, UNCAPPED)
    assert (pushed[:, 0] - pushed[:, 1]).abs().max() < 1e-5
    assert (pushed[:, 0] - tokens[:, 0]).norm() > 0.1 * tokens[:, 0].norm()
    assert torch.isfinite(pushed).all()


def test_identical_samples_and_single_samples_stay() -> None:
    same = group(1, 1.0).float().expand(1, 4, 6, 32).contiguous()
    assert torch.equal(repel(same, UNCAPPED), same)
    alone = group(1, 1.0).float()
    assert torch.equal(repel(alone, UNCAPPED), alone)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_group_without_directions_harms_no_other(value: float) -> None:
    """Such as padding alone, or a run that has broken down, which has to show in its own pictures."""
    tokens = torch.cat([group(4, 0.3, seed) for seed in range(3)]).float()
    tokens[0] = value
    tokens[1, 2] = value
    pushed = repel(tokens, UNCAPPED)
    if value == 0.0:
        assert torch.equal(pushed[:2], tokens[:2])
    else:
        assert not pushed[0].isfinite().any()
        assert not pushed[1, 2].isfinite().any()
    assert torch.equal(pushed[2], repel(tokens[2:], UNCAPPED)[0])


def test_groups_do_not_see_each_other_and_order_does_not_matter() -> None:
    tokens = torch.cat([group(4, 0.3, seed) for seed in range(3)]).float()
    together = repel(tokens, UNCAPPED)
    for index in range(3):
        torch.testing.assert_close(together[index], repel(tokens[index : index + 1], UNCAPPED)[0], rtol=0, atol=2e-5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(repel(tokens[:, order], UNCAPPED), together[:, order], rtol=0, atol=2e-4)


def test_strength_means_the_same_at_every_scale() -> None:
    tokens = group(4, 0.3)
    displaced = [(repel((k * tokens).float(), UNCAPPED) - k * tokens).norm() / (k * tokens).norm() for k in (1e-2, 1e2)]
    torch.testing.assert_close(displaced[0], displaced[1], rtol=1e-4, atol=0)


def test_displacement_is_capped() -> None:
    tokens = group(4, 0.3).float()
    pushed = repel(tokens, RepulsionConfig(strength=1e4, max_displacement=0.2))
    moved = (pushed - tokens).square().sum((2, 3)).mean().sqrt() / tokens.square().sum((2, 3)).mean().sqrt()
    torch.testing.assert_close(moved, torch.tensor(0.2), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(dtype: torch.dtype) -> None:
    tokens = group(4, 0.5).to(dtype)
    pushed = repel(tokens, UNCAPPED)
    assert pushed.dtype == dtype
    assert torch.isfinite(pushed).all()
    exact = repel_by_autograd(tokens.double(), UNCAPPED)
    assert (pushed.double() - exact).norm() < 0.01 * (exact - tokens.double()).norm() + 0.005 * tokens.double().norm()
