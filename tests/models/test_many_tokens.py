"""TORA on 65 to 512 tokens as a GPU computes it: the same functions, on CPU tensors."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from models.interventions.numerics.arrays import TORCH
from models.interventions.numerics.projector import leading_direction, principal_projector
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.reference import align_by_svd
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import align, by_values
from models.tokens import Tokens


def orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    basis: Tensor = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64, generator=generator))[0]
    return basis


def graded(kind: str, count: int, generator: torch.Generator) -> Tensor:
    """Tokens without a mean, whose singular values follow the curve; a number is its condition's exponent."""
    singular = torch.logspace(0, -float(kind) if kind.isdigit() else -2, count - 1, dtype=torch.float64)
    if kind == "repeated":
        singular[:5] = singular[0]
    if kind == "deficient":
        singular[count // 2 :] = 0
    away = orthogonal(count, count - 1, generator)
    left = torch.linalg.qr(away - away.mean(0))[0]
    tokens: Tensor = (left * singular) @ orthogonal(count + 64, count - 1, generator).T
    return tokens


def found(tokens: Tensor, direction: Tensor, valid: Tensor, config: ToraConfig, by: Any = None) -> Tensor:
    selection = TokenSelection.of(Tokens.of(valid, valid), config)
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    decompose = partial(
        by or partial(by_values, torch.linalg.eigvalsh),
        elbow_rows_BMM=selection.elbow_rows_BMM,
        sigma=config.sigma,
        angle=config.angle,
    )
    return align(TORCH, decompose, tokens, direction, *select)


def error(tokens: Tensor, direction: Tensor, valid: Tensor, config: ToraConfig, by: Any = None) -> Tensor:
    """Of TORA's effect, a sample.

    by: finds the change of the rows in another way than by eigenvalues alone.
    """
    expected = align_by_svd(tokens.double(), direction.double(), valid, config)
    effect = (expected - tokens).norm(dim=(1, 2))
    share: Tensor = (found(tokens, direction, valid, config, by) - expected).norm(dim=(1, 2)) / effect
    return share


@pytest.mark.parametrize(
    ("count", "kinds"),
    [
        (65, ("2", "4", "8", "repeated", "deficient")),
        (128, ("2", "4", "8", "repeated", "deficient")),
        (333, ("4",)),
        (512, ("8",)),
    ],
)
def test_equals_the_decomposition(count: int, kinds: tuple[str, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.stack([graded(kind, count, generator) for kind in kinds]).float()
    direction = torch.randn(len(kinds), count + 64, generator=generator)
    valid = torch.ones(len(kinds), count, dtype=torch.bool)
    # Tokens of deficient rank have directions that only their rounding to float32 gives a length.
    most = torch.tensor([5e-4 if kind == "deficient" else 1e-5 for kind in kinds])
    assert (error(tokens, direction, valid, ToraConfig()) < most).all()


def test_samples_of_other_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 80, 96, generator=generator) * torch.logspace(0, -2, 96)
    valid = torch.arange(80) < torch.tensor([80, 40, 3, 1])[:, None]
    direction = torch.randn(4, 96, generator=generator)
    config = ToraConfig()
    assert (error(tokens[:3], direction[:3], valid[:3], config) < 1e-4).all()
    changed = found(tokens, direction, valid, config)
    assert torch.equal(changed[~valid], tokens[~valid])
    assert torch.equal(changed[3], tokens[3])


def test_an_elbow_among_equal_values_shares_the_spacing() -> None:
    """No direction of theirs is better than another. All others are treated as by the decomposition."""
    generator = torch.Generator().manual_seed(0)
    basis = orthogonal(70, 70, generator)
    values = torch.cat([torch.tensor([9.0, 5.0]), torch.ones(10), torch.linspace(0.5, 0.01, 58)]).double()
    matrix = ((basis * values) @ basis.T)[None]
    first, last, beyond = (values[place].reshape(1, 1, 1) for place in (0, 2, 3))
    share = (basis.T @ principal_projector(matrix, first, last, beyond)[0] @ basis).diagonal()
    torch.testing.assert_close(share[:2], torch.ones(2).double())
    torch.testing.assert_close(share[12:], torch.zeros(58).double())
    assert ((share[2:12] > -1e-6) & (share[2:12] < 1.0 + 1e-6)).all()
    inside = (
        basis.T
        @ leading_direction(matrix - 9.0 * basis[:, :1] @ basis[:, :1].T - 5.0 * basis[:, 1:2] @ basis[:, 1:2].T)[0]
    )
    torch.testing.assert_close(inside[2:12].norm(), torch.tensor(1.0).double())
