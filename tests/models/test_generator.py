"""The generator on a tiny real pipeline: the same pictures as stock diffusers, and interventions that come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from jobs.benchmarks.papers import papers_forms
from models.denoising import Denoising
from models.errors import ModelError, PromptError
from models.families import family_of
from models.generator import Generator
from models.hooks import blocks
from models.interventions.repulsion import groups as groups_of_call
from models.interventions.repulsion import push
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import InterventionConfig, ModelSpec, Sampling
from tests.support.small_groups import REPULSION, SAMPLING, SEEDS, TORA, difference, group


@pytest.fixture(scope="module")
def generator(tiny_pipeline: str) -> Generator:
    return Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_without_interventions_it_is_the_stock_pipeline(
    generator: Generator, tiny_pipeline: str, guidance: float
) -> None:
    classes: Any = diffusers
    stock = classes.StableDiffusion3Pipeline.from_pretrained(tiny_pipeline, text_encoder_3=None, tokenizer_3=None)
    stock.set_progress_bar_config(disable=True)
    images = stock(
        "a red star",
        num_images_per_prompt=3,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=4,
        guidance_scale=guidance,
        width=16,
        height=16,
        max_sequence_length=4,
    ).images
    sampling = Sampling(steps=4, guidance_scale=guidance, width=16, height=16, max_sequence_length=4)
    made = generator.generate([group(sampling=sampling)])[0]
    assert np.array_equal(made, np.stack([np.asarray(image) for image in images]))


@pytest.mark.parametrize(
    "config",
    [ToraConfig(sigma=4.0), RepulsionConfig(strength=0.5, inner_steps=20, max_displacement=10.0)],
)
def test_the_papers_own_forms_draw_the_same(generator: Generator, config: InterventionConfig) -> None:
    """Which the benchmark compares with."""
    made = generator.generate([group(interventions=(config,))])[0]
    with papers_forms():
        naive = generator.generate([group(interventions=(config,))])[0]
    assert difference(made, naive) <= 1 < difference(made, generator.generate([group()])[0])


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_each_intervention_changes_pixels_and_leaves_no_trace(generator: Generator, guidance: float) -> None:
    sampling = Sampling(steps=4, guidance_scale=guidance, width=16, height=16, max_sequence_length=4)
    stock = generator.generate([group(sampling=sampling)])[0]
    for config in (TORA, REPULSION):
        changed = generator.generate([group(sampling=sampling, interventions=(config,))])[0]
        assert difference(changed, stock) > 3
        assert np.array_equal(changed, generator.generate([group(sampling=sampling, interventions=(config,))])[0])
        assert np.array_equal(stock, generator.generate([group(sampling=sampling)])[0])
    transformer = generator._pipe.transformer
    for module in (transformer, *transformer.transformer_blocks):
        assert blocks.HOOK not in module._diffusers_hook.hooks


def test_settings_that_do_nothing_do_nothing(generator: Generator) -> None:
    stock = generator.generate([group()])[0]
    nothing = generator.generate(
        [group(interventions=(ToraConfig(sigma=1.0, angle=0.0), RepulsionConfig(strength=0.0)))]
    )[0]
    assert np.array_equal(nothing, stock)
    alone = generator.generate([group(seeds=SEEDS[:1])])[0]
    assert np.array_equal(generator.generate([group(seeds=SEEDS[:1], interventions=(REPULSION,))])[0], alone)


def test_a_group_depends_on_itself_alone(generator: Generator) -> None:
    settings: dict[str, Any] = {"interventions": (TORA, REPULSION)}
    groups = [group(**settings), group("a blue ring", (21, 22, 23), **settings), group("x", (31, 32, 33), **settings)]
    together = generator.generate(groups)
    for one, made in zip(groups, together, strict=True):
        assert difference(made, generator.generate([one])[0]) <= 2
    mirrored = generator.generate([group(seeds=SEEDS[::-1], **settings)])[0]
    assert difference(mirrored[::-1], together[0]) <= 2


def test_what_tora_keeps_between_steps_is_forgotten_at_the_end_of_a_run(generator: Generator) -> None:
    kept = group(interventions=(ToraConfig(sigma=4.0, refresh_steps=4),))
    made = generator.generate([kept])[0]
    generator.generate([group("a blue ring", (21, 22, 23), interventions=kept.interventions)])
    assert np.array_equal(generator.generate([kept])[0], made)
    assert not np.array_equal(generator.generate([group(interventions=(ToraConfig(sigma=4.0),))])[0], made)


def test_texts_are_kept_while_they_fit(tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))
    groups = [group("a dot"), group("a ring")]
    made = generator.generate(groups)
    assert [key[0] for key in generator._texts._kept] == ["a dot", "a ring", ""]
    monkeypatch.setattr("models.texts._BYTES_KEPT", 1)
    generator._texts.encode("a star", (), SAMPLING)
    assert [key[0] for key in generator._texts._kept] == ["a star"]
    assert np.array_equal(generator.generate(groups), made)


def test_repulsion_stops_after_its_steps(generator: Generator) -> None:
    first_only = generator.generate([group(interventions=(replace(REPULSION, steps=(0.0, 0.25)),))])[0]
    all_steps = generator.generate([group(interventions=(replace(REPULSION, steps=(0.0, 1.0)),))])[0]
    assert difference(first_only, all_steps) > 0


@pytest.mark.parametrize("settings", [{"branch": "both"}, {"strength": 0.1}, {"max_displacement": 0.01}])
def test_each_setting_of_repulsion_makes_other_pictures(generator: Generator, settings: dict[str, Any]) -> None:
    default = generator.generate([group(interventions=(REPULSION,))])[0]
    other = generator.generate([group(interventions=(replace(REPULSION, **settings),))])[0]
    assert difference(other, default) > 0


def test_repulsion_of_the_conditional_branch_leaves_the_other(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[int] = []
    repel = push.repel

    def watch(tokens_GBND: Tensor, *rest: Any) -> Tensor:
        pushed.append(len(tokens_GBND))
        return repel(tokens_GBND, *rest)

    monkeypatch.setattr(groups_of_call, "repel", watch)
    for config, sets in ((REPULSION, {2}), (RepulsionConfig(branch="both"), {4})):
        pushed.clear()
        generator.generate([group(interventions=(config,)) for _ in range(2)])
        assert set(pushed) == sets


def test_reports_steps(generator: Generator) -> None:
    seen: list[tuple[int, int]] = []
    generator.generate([group()], lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_steps_are_counted_where_a_pipeline_reports_none(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = type(generator._pipe)
    draw, seen = pipeline.__call__, []

    def silent(self: Any, **given: Any) -> Any:
        assert "callback_on_step_end" not in given
        return draw(self, **given)

    monkeypatch.setattr(pipeline, "__call__", silent)
    generator.generate([group(interventions=(REPULSION,))], lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_each_evaluation_of_a_sampler_of_second_order_is_a_step(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    heun = diffusers.FlowMatchHeunDiscreteScheduler()
    monkeypatch.setattr(generator._pipe, "scheduler", heun)
    seen: list[tuple[int, int]] = []
    generator.generate([group()], lambda done, of: seen.append((done, of)))
    assert seen == [(step, 7) for step in range(1, 8)]
    levels: list[float] = []
    monkeypatch.setattr(Denoising, "end_call", watched(levels, Denoising.end_call))
    generator.generate([group()])
    assert levels == heun.sigmas[:-1].tolist()
    # 0.15 of 7 steps is the first one, which repulsion of 0 to 1 seventh acts in too, and of two sevenths does not.
    first, same, two = (
        generator.generate([group(interventions=(replace(REPULSION, steps=(0.0, stop)),))])[0]
        for stop in (0.15, 1 / 7, 2 / 7)
    )
    assert np.array_equal(first, same)
    assert difference(first, two) > 0


def watched(levels: list[float], end_call: Any) -> Any:
    def note(run: Denoising) -> None:
        levels.append(run.noise_level)
        end_call(run)

    return note


@pytest.mark.parametrize(("order", "words"), [(0, "makes more"), (2, "has made fewer")])
def test_steps_that_cannot_be_told_apart_are_an_error(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, order: int, words: str
) -> None:
    monkeypatch.setattr(generator._pipe.scheduler, "order", order, raising=False)
    with pytest.raises(ModelError, match=f"FlowMatchEulerDiscreteScheduler {words} transformer calls than the 1 in"):
        generator.generate([group()])


def test_refuses_what_it_cannot_do(generator: Generator, tmp_path: Any) -> None:
    with pytest.raises(PromptError, match="tokens longer"):
        generator.generate([group("a very long prompt for so small a model")])
    with pytest.raises(ModelError, match="cannot share"):
        generator.generate([group(), group(seeds=(1,))])
    with pytest.raises(ModelError, match="no such folder"):
        Generator(ModelSpec(path=str(tmp_path / "missing")))
    with pytest.raises(ModelError, match="Supported: StableDiffusion3Pipeline"):
        family_of(object())


@pytest.mark.parametrize(
    "settings", [{"site": "block"}, {"direction": "prompt"}, {"direction": "leading"}, {"padding": True}]
)
def test_each_setting_of_tora_makes_other_pictures(generator: Generator, settings: dict[str, Any]) -> None:
    default = generator.generate([group(interventions=(TORA,))])[0]
    other = generator.generate([group(interventions=(replace(TORA, **settings),))])[0]
    assert difference(other, default) > 0
    assert np.array_equal(generator.generate([group(interventions=(TORA,))])[0], default)
