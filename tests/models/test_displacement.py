"""How far interventions move the text, as the hooks measure it around every change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.denoising import Denoising
from models.generator import Generator
from models.hooks.record import displacement
from models.interventions.base import Edit, TextEdit
from models.interventions.dave import DAVE, DaveConfig
from models.interventions.registry import _REGISTERED
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.alignment import Alignment
from models.interventions.tora.config import ToraConfig
from models.spec import Group, InterventionConfig, ModelSpec, Sampling

SAMPLING = Sampling(steps=3, guidance_scale=3.0, width=16, height=16, max_sequence_length=4)
TORA = ToraConfig(sigma=2.0)
REPULSION = RepulsionConfig(strength=0.5, inner_steps=20, steps=(0.0, 0.5))
SEEDS = (11, 12, 13)


@dataclass(frozen=True, kw_only=True)
class LouderConfig(InterventionConfig):
    factor: float = 1.5
    first_token_only: bool = False


def _begin(config: LouderConfig, run: Denoising) -> Sequence[Edit]:
    def longer(text_RND: Tensor) -> Tensor:
        own = slice(0, 1) if config.first_token_only else slice(None)
        changed_RND = text_RND.clone()
        changed_RND[-run.images :, own] *= config.factor  # the rows of the positive text come last
        return changed_RND

    return [TextEdit(site="block input", change=longer, blocks=(1,), steps=(0, 2))]


@pytest.fixture(autouse=True)
def louder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_REGISTERED, "louder", replace(DAVE, name="louder", config=LouderConfig, begin=_begin))


@pytest.fixture(scope="module")
def generator(tiny_pipeline: str) -> Generator:
    return Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))


def group(*interventions: InterventionConfig, prompt: str = "a red star", seeds: tuple[int, ...] = SEEDS) -> Group:
    return Group(prompt=prompt, seeds=seeds, sampling=SAMPLING, interventions=interventions)


@pytest.mark.parametrize("first_token_only", [False, True])
def test_an_intervention_of_anybody_is_measured_where_it_acts(generator: Generator, first_token_only: bool) -> None:
    """Tokens, branches, blocks and steps that it leaves alone do not count."""
    config = LouderConfig(first_token_only=first_token_only)
    (drawn,) = generator.draw([group(config)])
    np.testing.assert_allclose(drawn.displacement["louder"], [0.5] * 3, rtol=1e-6)


def test_the_share_of_tora_is_that_of_its_own_changes(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[Tensor] = []
    align = Alignment.__call__

    def note(self: Alignment, text_RND: Tensor) -> Tensor:
        after_RND = align(self, text_RND)
        before, after = (rows[len(SEEDS) :].double() for rows in (text_RND, after_RND))
        moved = (after != before).any(-1, keepdim=True)
        shares.append(((after - before) * moved).flatten(1).norm(dim=1) / (before * moved).flatten(1).norm(dim=1))
        return after_RND

    monkeypatch.setattr(Alignment, "__call__", note)
    (drawn,) = generator.draw([group(TORA)])
    assert len(shares) == 2 * SAMPLING.steps
    expected = torch.stack(shares).mean(0)
    assert expected.min() > 0.01
    np.testing.assert_allclose(drawn.displacement["tora"], expected, rtol=1e-5)


def test_what_moves_nothing_is_0_and_what_edits_no_text_is_not_there(generator: Generator) -> None:
    nothing = (ToraConfig(sigma=1.0, angle=0.0), RepulsionConfig(strength=0.0), DaveConfig())
    (drawn,) = generator.draw([group(*nothing)])
    assert {name: moved.tolist() for name, moved in drawn.displacement.items()} == {
        "tora": [0.0] * 3,
        "repulsion": [0.0] * 3,
    }
    (alone,) = generator.draw([group(REPULSION, seeds=SEEDS[:1])])
    assert alone.displacement["repulsion"].tolist() == [0.0]
    (stock,) = generator.draw([group()])
    assert stock.displacement == {}


def test_a_group_has_its_own_numbers_in_any_batch_and_the_same_bits_each_time(generator: Generator) -> None:
    both: tuple[Any, ...] = (TORA, REPULSION)
    groups = [group(*both), group(*both, prompt="a dot", seeds=(21, 22, 23))]
    together, again = generator.draw(groups), generator.draw(groups)
    for one, first, second in zip(groups, together, again, strict=True):
        (alone,) = generator.draw([one])
        for name in ("tora", "repulsion"):
            assert first.displacement[name].tobytes() == second.displacement[name].tobytes()
            assert (first.displacement[name] > 0.001).all()
            np.testing.assert_allclose(first.displacement[name], alone.displacement[name], rtol=1e-3)
    assert not np.allclose(together[0].displacement["tora"], together[1].displacement["tora"], rtol=1e-3)


def test_padding_that_holds_no_number_does_not_matter() -> None:
    def edit(text_RND: Tensor) -> Tensor:
        return torch.cat([1.25 * text_RND[:, :2], text_RND[:, 2:]], dim=1)

    before_RND = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    before_RND[:, 3] = torch.nan
    run: Any = None  # it is not asked
    moved_R, whole_R = displacement(run, before_RND, edit(before_RND)).unbind(-1)
    torch.testing.assert_close((moved_R / whole_R).sqrt(), torch.full((3,), 0.25), rtol=0.01, atol=0.0)


@pytest.mark.parametrize("steps", [(0.0, 0.34), (0.0, 1.0)])
def test_each_edit_has_its_numbers(generator: Generator, steps: tuple[float, float]) -> None:
    """TORA acts on the positive text of both blocks, repulsion on both branches but not after the last block."""
    (drawn,) = generator.draw([group(replace(TORA, steps=steps), replace(REPULSION, steps=steps))])
    made = {name: (numbers[..., 0] > 0).all(-1) for name, numbers in drawn.edits.items()}
    acting = 1 if steps[1] < 1 else 3
    for name, blocks, branches in (("tora", 2, 1), ("repulsion", 1, 2)):
        expected = np.zeros((2, 3, 2), bool)
        expected[:blocks, :acting, :branches] = True
        assert (made[name] == expected).all()
