"""Both methods on the hidden states of a real language model, whose spectra no generator of random numbers has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.repulsion.push import repel
from models.interventions.tora.config import ToraConfig
from models.recommended import recommended
from models.spec import span
from tests.models.test_many_tokens import error
from tests.models.test_recommended import cosine
from tests.support import real_text

SD35_LARGE = "stabilityai/stable-diffusion-3.5-large"

_KERNEL = """
import sys, torch
from models.interventions.numerics import kernels
from models.interventions.numerics.arrays import TORCH
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.transform import by_vectors
from tests.models.test_many_tokens import error

def by_kernel(rows, *, elbow_rows_BMM, **settings):
    order = torch.arange(elbow_rows_BMM.shape[1], dtype=torch.float64).flip(0)[:, None]
    return by_vectors(TORCH, kernels.eigh, rows, elbow_rows_BMM, order, **settings)

for tokens, direction in torch.load(sys.argv[1]):
    worst = error(tokens, direction, torch.ones(tokens.shape[:2], dtype=torch.bool), ToraConfig(), by_kernel).max()
    print(tokens.shape, float(worst))
    assert worst < 1e-5
"""


def case(count: int, layers: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """Tokens [layers, count, D] and the direction from a plainer prompt to them."""
    tokens = real_text.tokens(count)[layers]
    return tokens, tokens.mean(1) - real_text.tokens(4)[layers].mean(1)


@pytest.mark.parametrize("count", [65, 120, 333, 384])
def test_many_tokens_equal_the_decomposition(count: int) -> None:
    tokens, direction = case(count, slice(0, 6, 5 if count > 300 else 1))
    assert error(tokens, direction, torch.ones(tokens.shape[:2], dtype=torch.bool), ToraConfig()).max() < 1e-5


def test_so_does_the_kernel_for_few(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    torch.save([case(24, slice(0, 6, 5))], tmp_path / "cases.pt")
    interpreted = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run(
        [sys.executable, "-c", _KERNEL, str(tmp_path / "cases.pt")], env=interpreted, check=True, timeout=170
    )


@pytest.mark.parametrize("shared", [0.99, 0.999])
def test_a_group_keeps_most_of_what_it_shares(shared: float) -> None:
    """The samples' texts differ as one text does that is read before four others: a stand-in for four images."""
    endings = ("A crowd in the rain.", "Two chairs, an empty room, noon.", "Stars.", "Blue paint runs down a wall.")
    texts = torch.stack([real_text.tokens(100, ending)[-1] for ending in endings])
    common = texts.mean(0, keepdim=True)
    # Their differences, at the length that gives the group of 4, whose differences add up to 0, the cosine asked for.
    own = torch.nn.functional.normalize((texts - common).flatten(1)).reshape(texts.shape)
    own *= common.norm() * ((1 - shared) / (shared + 1 / 3)) ** 0.5
    group = (common + own)[None]
    assert cosine(group) == pytest.approx(shared, abs=(1 - shared) / 5)
    large = recommended(SD35_LARGE)
    # Fewer inner steps make no difference here.
    config = RepulsionConfig(**{**large.interventions["repulsion"], "inner_steps": 10})
    assert len(span(config.blocks, 38)) == 38
    for _ in range(37):
        group = repel(group, config)
    assert 0.9 < cosine(group) < shared
