"""The benchmarks of the interventions, on models small enough to run here, and the cost model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jobs import bench
from jobs.benchmarks import blocks, cost, gpu, interventions, refresh, timing
from jobs.benchmarks.cases import (
    FLUX1_DEV,
    GROUPS,
    LARGE_GROUP,
    PROMPT_TOKENS,
    REPULSION_BUDGET,
    SD35_LARGE,
    TORA_BUDGET,
    Model,
)
from jobs.benchmarks.quotas_world import Embedded, Studio, longer_rows
from models.embedded import TURBO, WEIGHTS
from models.embedded.captions import named_attributes
from models.embedded.promptset import world_prompts
from models.interventions.numerics.arrays import TORCH
from models.interventions.repulsion import ascent, push
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora import transform
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection
from models.spec import Sampling
from models.tokens import Tokens
from pipelines.config.recommended import settings_of
from tests.support.docs import GUIDES, README

SD3 = replace(
    SD35_LARGE,
    config={
        "sample_size": 4,
        "patch_size": 1,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 32,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 32,
        "pos_embed_max_size": 8,
    },
    width=32,
    text_tokens=12,
    image_tokens=16,
)
FLUX = replace(
    FLUX1_DEV,
    config={
        "in_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "axes_dims_rope": (4, 4, 8),
        "guidance_embeds": True,
    },
    rotary=16,
    width=32,
    text_tokens=12,
    image_tokens=16,
)


@pytest.mark.parametrize("model", [SD3, FLUX])
def test_the_gpu_benchmark_runs_each_model(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.measure(model, [1], [6], 2, steps=2, repeats=1, device="cpu")
    shown = capsys.readouterr().out
    assert re.findall(r"group of (\d)(, 6 tokens)?", shown) == [("1", ", 6 tokens"), ("2", "")]
    assert re.search(r"^  TORA, decomposed once +[\d.e-]+ +[+-]", shown, re.MULTILINE)
    assert re.search(r"over a run, where it acts in \d of 28 steps: [+-]", shown)


def test_a_group_that_does_not_fit_a_gpu_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def small_gpu(variants: Mapping[str, Callable[[], object]], **options: Any) -> Any:
        if "repulsion" in variants and "base" in variants and not shown:
            shown.append("out of memory")
            raise torch.OutOfMemoryError
        return timing.compare(variants, **options)

    shown: list[str] = []
    monkeypatch.setattr(gpu, "compare", small_gpu)
    gpu.measure(SD3, [2, 3], [6], 0, steps=1, repeats=1, device="cpu")
    assert re.findall(r"group of (\d)\n +(does not fit|seconds)", capsys.readouterr().out) == [
        ("2", "does not fit"),
        ("3", "seconds"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["interventions", "--device", "cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_the_examples_of_the_benchmark_are_commands() -> None:
    examples = re.findall(r"bench\.py interventions +(-[^#\n]*)", interventions.__doc__ or "")
    assert len(examples) >= 3
    parser = argparse.ArgumentParser()
    interventions.add_arguments(parser)
    for words in examples:
        parser.parse_args(words.split())


@pytest.mark.parametrize("model", [SD3, FLUX])
def test_the_block_benchmark_runs_each_model(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    blocks.measure(model, [2], [6], 0, 1, naive=True)
    shown = capsys.readouterr().out
    for name in ("TORA", "TORA between decompositions", "TORA, full SVD per sample", "repulsion, autograd loop"):
        assert re.search(rf"^ +2 +6? +{name} +[\d.]+ +[+][\d.]+ %$", shown, re.MULTILINE), name


def test_the_error_of_decomposing_in_fewer_steps(
    tmp_path: Path, tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline").symlink_to(tiny_pipeline)
    sampling = Sampling(steps=4, guidance_scale=3.0, width=16, height=16, max_sequence_length=4)
    for name, value in {"WEIGHTS": tmp_path, "SAMPLING": sampling, "PROMPTS": ("a red star",)}.items():
        monkeypatch.setattr(refresh, name, value)
    assert bench.main(["refresh", "--images", "2", "--refresh-steps", "1", "4"]) == 0
    shown = re.findall(r"^ +(\d) +(\d) +([\d.]+)% +([\d.]+)% +([\d.]+)%$", capsys.readouterr().out, re.MULTILINE)
    pairs = [("1", "1"), ("4", "0"), ("4", "1")] * 2
    assert [(*row[:2], float(row[2]) > 0.0) for row in shown] == [(*pair, True) for pair in pairs]


ONE = cost.Gpu(
    dense=1, single=1, double=1, bandwidth=1, launch=1, multiprocessors=1, round=1, alone=1, alone_bandwidth=1
)
SMALL = replace(
    SD35_LARGE, width=2, blocks=3, text_tokens=5, image_tokens=3, branches=2, steps=4, tau=2, inner_steps=10
)


def test_a_step_of_the_model() -> None:
    """Two rows, three blocks, eight tokens: 24 x 4 for the weights of each, and 4 x 64 x 2 for attention."""
    assert cost.step_seconds(SMALL, 1, ONE) == 2 * 3 * (24 * 4 * 8 + 4 * 64 * 2)
    assert cost.step_seconds(SD35_LARGE, 1, cost.Gpu()) == pytest.approx(0.138, abs=5e-4)
    assert cost.step_seconds(FLUX1_DEV, 1, cost.Gpu()) == pytest.approx(0.165, abs=5e-4)


def test_a_step_of_tora() -> None:
    """Four own tokens of five, of width two."""
    every = cost.application(SMALL, 1, 4, ONE)
    assert every.kernels == 8 + 6
    assert every.single == 2 * 4 * 2 * 5 + 2 * 5 * 5 * 4 + 2 * 5 * 2 * 5
    assert every.moved == 2 * (5 * 84 + 4 * 16)
    found = cost.decomposition(SMALL, 1, 4, ONE)
    assert (found.kernels, found.single, found.double) == (78, 2 * 5 * 5 * 2, 0)
    assert (found.rounds, found.alone) == (4 + 8 * 3, 12 * 8 * 3 * 16)
    assert cost.tora(SMALL, 1, 4, ONE, 2) == (every + found.times(0.5)).times(3)
    # Beside the model one matrix of four multiprocessors takes a quarter; in the first step it is waited for.
    four = replace(ONE, multiprocessors=4)
    alone = cost.beside(SMALL, 1, 4, four)
    assert (alone.kernels, alone.single, alone.rounds, alone.alone) == (78 / 4, found.single, 28 / 4, found.alone / 4)
    every = cost.application(SMALL, 1, 4, four)
    late = every + (cost.decomposition(SMALL, 1, 4, four) + alone.times(SMALL.steps - 1)).times(1 / SMALL.steps)
    assert cost.tora(SMALL, 1, 4, four, 1, 1) == late.times(3)


def test_a_decomposition_of_many_tokens() -> None:
    found = cost.decomposition(SMALL, 1, 100, ONE)
    assert (found.kernels, found.single, found.double) == (196, 2 * 101 * 101 * 2, 76 * 2 * 100**3)
    assert (found.rounds, found.alone_moved) == (200, 8 * 100**3)
    assert found.alone_seconds == pytest.approx(10 * 100 * 30e-9)
    # On two multiprocessors a product of 2 x 2 tiles keeps both busy, one of 1 x 1 tiles a half.
    two = replace(ONE, multiprocessors=2)
    assert cost.decomposition(SMALL, 1, 100, two).double == 76 * 2 * 100**3
    assert cost.decomposition(SMALL, 1, 60, two).single == 2 * 61 * 61 * 2 * 2


def test_a_step_of_repulsion() -> None:
    """Both branches of four images push in two steps of four, in all blocks but the last."""
    found = cost.repulsion(SMALL, 4, ONE)
    assert found.kernels == 60 * 2 / 2
    assert found.moved == 48 * 2 * 4 * 10
    assert found.single == 2 * (2 * 2 * 4 * 5 * 10)
    assert found.rounds == 10 * 3 + 4 + 8 * 3
    seconds = found.seconds(replace(ONE, launch=2, bandwidth=4))
    assert seconds["kernels"] == 2 * found.kernels
    assert seconds["memory"] == found.moved / 4


def test_the_cost_model_says_which_cases_keep_to_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["interventions", "--only", "cost"]) == 0
    shown = capsys.readouterr().out
    assert "not measured" in shown
    for model in (SD35_LARGE, FLUX1_DEV):
        row = rf"^ +{model.name} +\d+ +\d+ +[\d.]+( +[\d.]+%){{5}} +\S+( +[\d.]+%){{2}} +\S+ +[\d.]+%$"
        assert len(re.findall(row, shown, re.M)) == 9
        assert len(re.findall(rf"^ +{model.name} +(4|8|64) +[\d.]+%$", shown, re.M)) == 3
    # Twice as fast a kernel, and more cases do.
    fewest = cost.fewest_refresh_steps(SD35_LARGE, 4, 60, cost.Gpu(), 0.05)
    assert fewest is not None
    assert fewest > (cost.fewest_refresh_steps(SD35_LARGE, 4, 60, cost.Gpu(launch=1e-6, round=5e-7), 0.05) or 99)


def test_the_guides_have_the_costs_of_the_cost_model() -> None:
    assumed = cost.Gpu()
    cell = r"\| (\d+) \((\d+|-)\) "
    rows = re.findall(rf"^\| (\d+) {cell * 6}\|$", GUIDES["models/README.md"], re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(PROMPT_TOKENS)
    of_four, later = ([int(row[at]) for row in rows] for at in (3, 9))
    assert f"{of_four[0]} to {of_four[-1]} %\nof a step of SD3.5-Large with four images" in README
    assert f"{later[0]} to {later[-1]} % with `tora.lag_steps = 1`" in README
    for own, *cells in rows:
        for (lag, images), percent, every in zip(product((0, 1), GROUPS), cells[::2], cells[1::2], strict=True):
            whole = cost.tora(SD35_LARGE, images, int(own), assumed, 1, lag)
            assert int(percent) == round(100 * cost.share(whole, SD35_LARGE, images, assumed)), (own, lag, images)
            fewest = cost.fewest_refresh_steps(SD35_LARGE, images, int(own), assumed, TORA_BUDGET, lag)
            assert every == (str(fewest) if fewest else "-")
    kept = cost.share(cost.tora(SD35_LARGE, 1, 333, assumed, SD35_LARGE.steps), SD35_LARGE, 1, assumed)
    assert round(100 * kept) == 8
    for model, images in product((SD35_LARGE, FLUX1_DEV), (4, 8, LARGE_GROUP)):
        assert cost.share(cost.repulsion(model, images, assumed), model, images, assumed) < REPULSION_BUDGET


class _Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that a GPU runs as kernels, and those of them that multiply whole matrices."""

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.count, self.products = rows, 0, 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        free = ("unsafe_view", "scalar_tensor", "empty")
        self.count += not operation.is_view and not any(word in str(operation) for word in free)
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        whole = all(tensor.shape[-2:] == (self.rows, self.rows) for tensor in tensors)
        self.products += "bmm" in str(operation) and whole
        return operation(*args, **(kwargs or {}))


def counted(rows: int, call: Callable[[], object]) -> _Kernels:
    kernels = _Kernels(rows)
    with kernels:
        call()
    return kernels


def test_the_cost_model_counts_the_kernels_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put in place of the kernels of `numerics` counts as nothing, and is added here."""
    own, config = 7, ToraConfig()
    text_BND, valid = torch.randn(2, 9, 16).bfloat16(), (torch.arange(9) < own).expand(2, -1)
    selection = TokenSelection.of(Tokens.of(valid, torch.ones_like(valid)), config)
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    elbow, order, direction_BD = selection.elbow_rows_BMM, selection.order_M1, torch.randn(2, 16)
    values, vectors, change = torch.rand(2, own).double(), torch.rand(2, own, own).double(), torch.rand(2, own, own + 1)
    rows = torch.randn(2, own + 1, 16)

    def few() -> Tensor:
        return transform.by_vectors(TORCH, lambda _: (values, vectors), rows, elbow, order, sigma=1.3, angle=1.0)

    def many() -> Tensor:
        return transform.by_values(lambda _: values, rows, elbow, sigma=1.3, angle=1.0)

    def apply() -> Tensor:
        return transform.align(TORCH, lambda _: change, text_BND.float(), direction_BD, *select).to(text_BND.dtype)

    sort, gather, copy, factorise, reduce, count, join = 1, 1, 1, 1, 1, 1, 1
    assert counted(own, few).count + factorise + sort + gather + copy == cost.FEW_KERNELS
    found = counted(own, many)
    assert found.count + copy + reduce + count == cost.MANY_KERNELS
    assert found.products == cost.PRODUCTS
    assert counted(own, apply).count == cost.APPLY_KERNELS
    direction = counted(own, lambda: transform.semantic_direction(text_BND, text_BND, selection, config)).count
    assert direction + join == cost.DIRECTION_KERNELS

    pairs, turned = (torch.rand(2, 4).double(), torch.rand(2, 4, 4).double()), torch.rand(2, 4, 4).double()
    monkeypatch.setattr(ascent, "eigh", lambda _: pairs)
    monkeypatch.setattr(ascent, "gpu_kernels", lambda *_: SimpleNamespace(ascend=lambda *_: turned))
    monkeypatch.setattr(push, "displacement", lambda gram, *settings: push._displacement(TORCH, gram, *settings))
    group_GBND = torch.randn(2, 4, 9, 16).bfloat16()
    pushed = counted(4, lambda: push.repel(group_GBND, RepulsionConfig()))
    assert pushed.count + (factorise + sort + gather + copy) + (copy + 1 + 1) == cost.REPULSION_KERNELS


def test_a_longer_text_and_its_counterfactual_differ_in_the_attribute_of_the_concept_alone() -> None:
    concepts = [one for rarity in ("rare", "unseen") for own in world_prompts(rarity).values() for one in own]
    rows = longer_rows(concepts, 2, seed=1)
    assert len({row.text for row in rows}) == len(rows) == 2 * len(concepts)
    for row in rows:
        said, other = (named_attributes(text) for text in (row.text, row.counterfactual))
        (changed,) = (name for name, word in said.items() if other[name] != word)
        assert changed.startswith(row.concept.kind)
        assert len(other) == len(said) > len(named_attributes(row.concept.prompt))


def test_arms_that_are_compared_by_quotas_have_what_is_recommended_for_the_distilled_model() -> None:
    known = settings_of(str(WEIGHTS / "pipeline"), [TURBO]).interventions
    arms = {arm.name: arm for arm in Embedded([], 4, Studio(seed=0, dtype="float32"), 0.05).arms}
    assert arms["TORA"].interventions == (known["tora"],)
    assert arms["repulsion"].interventions == (known["repulsion"],)
    assert known["tora"] != settings_of(str(WEIGHTS / "pipeline")).interventions["tora"]


def test_the_benchmark_of_quotas_compares_ways_to_spend_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["quotas", "--concepts", "30", "--accepted", "8", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    images = {name: int(count.replace(",", "")) for name, count in re.findall(r"^(\w+): ([\d,]+) images", said, re.M)}
    assert images["bandit"] < images["uniform"] < images["stock"]
    assert "240 of 240 accepted" in said
