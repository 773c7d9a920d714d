"""TORA against a plain singular value decomposition, and what must hold of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from models.denoising import Denoising
from models.families.sd3 import FAMILY as SD3
from models.interventions.base import Call, CallEdit, TextEdit
from models.interventions.numerics.arrays import TORCH
from models.interventions.tora.algebra import principal_count
from models.interventions.tora.alignment import edits
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.prompt_direction import PromptDirection
from models.interventions.tora.reference import align_by_svd
from models.interventions.tora.selection import TokenSelection, elbow_rows
from models.interventions.tora.transform import align, by_vectors, semantic_direction
from models.interventions.tora.transform import space_and_align as with_selection
from models.tokens import Tokens

B, N, D = 4, 12, 48


def tokens_and_direction(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    decay = torch.linspace(3.0, 0.2, D)
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]
    tokens = (torch.randn(B, N, D, generator=generator) * decay) @ basis + torch.randn(B, 1, D, generator=generator)
    valid = torch.ones(B, N, dtype=torch.bool)
    valid[1, 7:] = False
    return tokens, torch.randn(B, D, generator=generator), valid


def space_and_align(tokens: Tensor, direction: Tensor, valid: Tensor, config: ToraConfig) -> Tensor:
    return with_selection(tokens, direction, TokenSelection.of(Tokens.of(valid, valid), config), config)


def in_torch(tokens: Tensor, direction: Tensor, selection: TokenSelection, config: ToraConfig) -> Tensor:
    """TORA as devices other than the CPU compute it."""
    decompose = partial(
        by_vectors,
        TORCH,
        torch.linalg.eigh,
        elbow_rows_BMM=selection.elbow_rows_BMM,
        order_M1=selection.order_M1,
        sigma=config.sigma,
        angle=config.angle,
    )
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    return align(TORCH, decompose, tokens, direction, *select)


@pytest.mark.parametrize(
    "config",
    [
        ToraConfig(),
        ToraConfig(sigma=1.0),
        ToraConfig(angle=0.0),
        ToraConfig(components=1),
        ToraConfig(components=4, angle=0.4, sigma=0.8),
        ToraConfig(centre=False),
    ],
)
def test_equals_the_decomposition(config: ToraConfig) -> None:
    tokens, direction, valid = tokens_and_direction()
    found = space_and_align(tokens, direction, valid, config)
    expected = align_by_svd(tokens.double(), direction.double(), valid, config)
    effect = (expected - tokens).norm(dim=(1, 2))
    assert ((found - expected).norm(dim=(1, 2)) < 1e-4 * effect).all()
    assert torch.equal(found[~valid], tokens[~valid])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(dtype: torch.dtype) -> None:
    tokens, direction, valid = tokens_and_direction()
    tokens = tokens.to(dtype)
    found = space_and_align(tokens, direction.to(dtype), valid, ToraConfig())
    exact = space_and_align(tokens.float(), direction.to(dtype).float(), valid, ToraConfig())
    assert found.dtype == dtype
    assert torch.equal(found, exact.to(dtype))


def test_identity() -> None:
    tokens, direction, valid = tokens_and_direction()
    assert torch.equal(space_and_align(tokens, direction, valid, ToraConfig(sigma=1.0, angle=0.0)), tokens)


def test_alignment_is_an_isometry_that_spares_the_principal_part() -> None:
    tokens, direction, valid = tokens_and_direction()
    changed = space_and_align(tokens, direction, valid, ToraConfig(sigma=1.0, components=3))[0]
    before, after = tokens[0] - tokens[0].mean(0), changed - tokens[0].mean(0)
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-4, atol=1e-4)
    principal = torch.linalg.svd(before, full_matrices=False)[2][:3]
    torch.testing.assert_close(after @ principal.T, before @ principal.T, rtol=1e-4, atol=1e-4)
    assert (after - before).norm() > 0.1


def test_samples_and_padding_do_not_matter() -> None:
    tokens, direction, valid = tokens_and_direction()
    found = space_and_align(tokens, direction, valid, ToraConfig())
    alone = space_and_align(tokens[1:2, :7], direction[1:2], valid[1:2, :7], ToraConfig())
    torch.testing.assert_close(found[1, :7], alone[0], rtol=0, atol=1e-5)
    other = torch.where(valid[:, :, None], tokens, 1e3)
    torch.testing.assert_close(
        space_and_align(other, direction, valid, ToraConfig())[1, :7], found[1, :7], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("direction", ["mean", "leading"])
def test_tokens_that_are_not_selected_need_not_be_finite(value: float, direction: Literal["mean", "leading"]) -> None:
    """Such as padding whose attention is masked in whole rows."""
    config = ToraConfig(direction=direction)
    tokens, other, valid = tokens_and_direction()
    uncond = tokens.flip(0)
    selection = TokenSelection.of(Tokens.of(valid, valid), config)
    broken, broken_uncond = (torch.where(valid[:, :, None], each, value) for each in (tokens, uncond))

    assert torch.equal(selection.mean(broken), selection.mean(tokens))
    expected = semantic_direction(tokens, uncond, selection, config)
    assert torch.equal(semantic_direction(broken, broken_uncond, selection, config), expected)

    found = with_selection(broken, other, selection, config)
    assert torch.equal(found[valid], with_selection(tokens, other, selection, config)[valid])
    torch.testing.assert_close(found[~valid], broken[~valid], rtol=0, atol=0, equal_nan=True)
    assert torch.isfinite(in_torch(broken, other, selection, config)[valid]).all()


def test_the_direction_of_a_prompt_reads_no_padding() -> None:
    tokens, _, valid = tokens_and_direction()
    selected = Tokens.of(valid, valid)
    run = Denoising(
        steps=1,
        groups=1,
        samples=B,
        family=replace(SD3, layout="two_calls"),
        blocks=1,
        tokens={"cond": selected, "uncond": selected},
        guided=True,
        seeds=range(B),
    )

    def found(cond: Tensor, uncond: Tensor) -> Tensor:
        prompt = PromptDirection(ToraConfig(), replace(run, negative={"prompt_embeds": uncond}))
        before, look = prompt.edits()
        assert isinstance(before, CallEdit)
        assert before.before is not None
        assert isinstance(look, TextEdit)
        before.before(Call(forward=lambda **inputs: look.change(inputs["encoder_hidden_states"]), args=(), kwargs={}))
        assert torch.equal(look.change(cond), cond) or not torch.isfinite(cond).all()
        return prompt.value

    broken = torch.where(valid[:, :, None], tokens, float("nan"))
    assert torch.equal(found(broken, broken.flip(-1)), found(tokens, tokens.flip(-1)))


@pytest.mark.parametrize("direction", ["mean", "leading", "prompt"])
def test_negative_tokens_that_are_not_read_are_no_difference(
    direction: Literal["mean", "leading", "prompt"],
) -> None:
    """Where one call holds both branches, the semantic direction looks at the negative text at the prompt's places."""
    tokens, _, valid = tokens_and_direction()
    uncond, read = tokens.flip(0), torch.ones_like(valid)
    read[2, 5:] = False
    run = Denoising(
        steps=1,
        groups=1,
        samples=B,
        family=SD3,
        blocks=1,
        tokens={"cond": Tokens.of(valid, valid), "uncond": Tokens.of(read, read)},
        guided=True,
        seeds=range(B),
    )
    run.begin_call(2 * B)

    def made(uncond: Tensor) -> Tensor:
        text = torch.cat([uncond, tokens])
        for edit in edits(ToraConfig(direction=direction), run):
            assert isinstance(edit, TextEdit)
            text = edit.change(text)
        return run.parts(text)["cond"]

    expected = made(torch.where(read[:, :, None], uncond, tokens))
    for value in (float("nan"), float("inf"), 1e3):
        assert torch.equal(made(torch.where(read[:, :, None], uncond, value)), expected)


def test_the_tokens_of_each_encoder() -> None:
    own = torch.tensor([[True, True, False, True, True], [True, False, False, False, False]])
    encoder = torch.tensor([[0, 0, 0, 1, 1]]).expand(2, -1)
    empty = torch.tensor([False, True])
    tokens = Tokens.of(own, torch.ones_like(own), padding_BN=~own, encoder_BN=encoder, empty_B=empty)
    first, second = tokens.of_each_encoder()
    assert torch.equal(first.own_BN | second.own_BN, own)
    assert first.own_BN[0].tolist() == [True, True, False, False, False]
    assert not second.own_BN[1].any()
    assert torch.equal(second.empty_B, empty)
    assert tokens.with_padding().own_BN.all()


def test_follows_a_change_of_basis() -> None:
    tokens, direction, valid = tokens_and_direction()
    basis = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(5)))[0]
    turned = space_and_align(tokens @ basis, direction @ basis, valid, ToraConfig())
    torch.testing.assert_close(
        turned, space_and_align(tokens, direction, valid, ToraConfig()) @ basis, rtol=0, atol=2e-4
    )


def test_the_form_for_other_devices_is_the_same() -> None:
    tokens, direction, valid = tokens_and_direction()
    for config in (ToraConfig(), ToraConfig(sigma=0.8, components=3, angle=0.5), ToraConfig(components=2, angle=0.0)):
        selection = TokenSelection.of(Tokens.of(valid, valid), config)
        found = in_torch(tokens, direction, selection, config)
        expected = space_and_align(tokens, direction, valid, config)
        assert (found - expected).norm() < 1e-5 * (expected - tokens).norm()


def test_degenerate_texts_stay_finite() -> None:
    tokens, direction, valid = tokens_and_direction()
    two = torch.zeros(B, N, dtype=torch.bool)
    two[:, :2] = True
    assert torch.equal(space_and_align(tokens, direction, two, ToraConfig()), tokens)
    equal = tokens[:, :1].expand(B, N, D).contiguous()
    assert torch.isfinite(space_and_align(equal, direction, valid, ToraConfig())).all()
    assert torch.isfinite(space_and_align(tokens, torch.zeros(B, D), valid, ToraConfig())).all()


def test_elbow() -> None:
    singular = torch.tensor([0.0, 0.4, 0.6, 0.8, 1.0, 9.0, 10.0]).double()[None, :, None]
    rank = torch.tensor([[[6.0]]]).double()
    for components, count in ((0, 3), (2, 2), (9, 5)):
        assert principal_count(singular, elbow_rows(rank, 7, components)).item() == count


def run_of(samples: int, blocks: int = 1) -> Denoising:
    valid = torch.ones(samples, N, dtype=torch.bool)
    selected = Tokens.of(valid, valid)
    return Denoising(
        steps=6,
        groups=1,
        samples=samples,
        family=SD3,
        blocks=blocks,
        tokens={"cond": selected, "uncond": selected},
        guided=True,
        seeds=range(samples),
    )


def through(run: Denoising, texts: list[Tensor], block: int = 0, **settings: Any) -> list[Tensor]:
    """What a block's text becomes, step by step."""
    changes = [edit for edit in edits(ToraConfig(**settings), run) if isinstance(edit, TextEdit)]
    made = []
    for text in texts:
        run.begin_call(len(text))
        made += [edit.change(text) for edit in changes if block in edit.blocks]
        run.end_call()
    return made


def test_in_between_the_change_of_the_last_decomposition_is_applied() -> None:
    tokens, _, _ = tokens_and_direction()
    first, then = torch.cat([tokens.flip(0), tokens]), torch.cat([tokens.flip(1), 2.0 * tokens.flip(0)])
    exact = through(run_of(B), [first, then])
    held = through(run_of(B), [first, then, first, first + then, then], refresh_steps=4)
    assert torch.equal(held[0], exact[0])
    assert (held[1] - exact[1]).norm() > 0.1 * (exact[1] - then).norm()
    # A fixed change is linear in the text.
    torch.testing.assert_close(held[2], exact[0])
    torch.testing.assert_close(held[3], held[1] + held[2])
    assert torch.equal(held[4], exact[1])


def test_what_is_kept_is_of_one_block_and_one_run_and_one_sample() -> None:
    tokens, _, _ = tokens_and_direction()
    first, then = torch.cat([tokens.flip(0), tokens]), torch.cat([tokens.flip(1), 2.0 * tokens.flip(0)])
    run = run_of(B, blocks=2)
    one, other = (edit.change for edit in edits(ToraConfig(refresh_steps=4), run) if isinstance(edit, TextEdit))
    run.begin_call(2 * B)
    one(first), other(then)
    run.end_call()
    run.begin_call(2 * B)
    alone = through(run_of(B), [first, then], refresh_steps=4)
    assert torch.equal(one(then), alone[1])
    assert torch.equal(other(then), through(run_of(B), [then])[0])
    single = [text[[0, B]] for text in (first, then)]
    torch.testing.assert_close(through(run_of(1), single, refresh_steps=4)[1], alone[1][[0, B]])


def test_every_step_is_decomposed_where_nobody_says_otherwise() -> None:
    tokens, _, _ = tokens_and_direction()
    first, then = torch.cat([tokens.flip(0), tokens]), torch.cat([tokens.flip(1), 2.0 * tokens.flip(0)])
    assert torch.equal(through(run_of(B), [first, then])[1], through(run_of(B), [then])[0])


@pytest.mark.parametrize(("refresh_steps", "found_at"), [(1, [0, 0, 1, 2, 3]), (2, [0, 0, 0, 2, 2])])
def test_a_change_that_comes_a_step_late(refresh_steps: int, found_at: list[int]) -> None:
    tokens, _, _ = tokens_and_direction()
    texts = [torch.cat([tokens.flip(0), (number + 1.0) * tokens.flip(number % 2)]) for number in range(5)]
    late = through(run_of(B), texts, refresh_steps=refresh_steps, lag_steps=1)
    for number, step in enumerate(found_at):
        held = through(run_of(B), [texts[step], texts[number]], refresh_steps=2)[step != number]
        torch.testing.assert_close(late[number], held)
    assert not torch.equal(late[1], through(run_of(B), texts[:2])[1])
