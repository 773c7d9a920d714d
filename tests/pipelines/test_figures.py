"""The papers' figures: lines through two samples, maps of attention, and the page of all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import figures as job
from models.embedded import SAMPLING, WEIGHTS
from models.errors import PromptError
from models.generator import Generator
from models.hooks.attention import weights
from models.hooks.lines import on_the_arc
from models.interventions.tora.config import ToraConfig
from models.spec import Group, ModelSpec
from pipelines.figures.config import Figures
from pipelines.figures.lines import lines
from pipelines.figures.maps import maps

PROMPT = "a purple star on night"
SHARES = (0.0, 0.5, 1.0, 1.5)
GROUP = Group(prompt=PROMPT, seeds=(1, 2), sampling=replace(SAMPLING, steps=2))
TORA = ToraConfig(sigma=2.0)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(ModelSpec(path=str(WEIGHTS / "pipeline"), dtype="float32"))


def test_the_ends_of_a_line_are_the_samples(generator: Generator) -> None:
    stock = generator.generate([GROUP])[0].astype(int)
    context, noise = lines(generator, GROUP, Figures(prompts=(PROMPT,), words="star", shares=SHARES))
    for line in (context, noise):
        assert np.array_equal(line.pictures[0], line.samples[0])
        assert np.abs(line.samples.astype(int) - stock).max() <= 1  # of another batch
        assert len(line.steps) == 3
        assert min(line.steps) > 0
        assert 0 < line.evenness <= 1
    assert np.array_equal(noise.pictures[2], noise.samples[1])
    assert not np.array_equal(context.pictures[2], context.samples[1])  # it began with the first sample's noise
    assert np.abs(generator.generate([GROUP])[0].astype(int) - stock).max() == 0  # no trace is left


def test_an_arc_of_noise_has_the_ends_and_the_length_of_noise() -> None:
    first, second = (torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(on_the_arc(first, second, 0.0), first)
    assert torch.equal(on_the_arc(first, second, 1.0), second)
    for share in (-0.5, 0.5, 1.5):
        assert float(on_the_arc(first, second, share).norm() / first.norm()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_those_of_the_attention(masked: bool) -> None:
    query, key, value = (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    mask = torch.arange(5)[None, None] < torch.tensor([5, 3])[:, None, None] if masked else None
    found = weights(query, key, mask)
    assert torch.allclose(found.sum(-1), torch.ones(2, 5))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    assert torch.allclose(found @ value, expected, atol=1e-5)


def test_maps_are_shares_of_the_attention_which_tora_moves(generator: Generator) -> None:
    """Those of words add up."""
    plain, changed = maps(generator, GROUP, TORA, "purple")
    assert plain.maps.shape == (2, 8, 8)
    assert (plain.maps > 0).all()
    assert (plain.maps < 1).all()
    assert np.abs(changed.maps - plain.maps).max() > 0.01 * plain.maps.max()
    both, star = (maps(generator, GROUP, TORA, words)[0].maps for words in ("purple, star", "star"))
    assert np.allclose(both, plain.maps + star, atol=1e-6)
    with pytest.raises(PromptError, match="the prompt has no 'pink'"):
        maps(generator, GROUP, TORA, "pink")


def test_the_job_writes_one_page_pictures_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    few = ["--quick", "--set", "sampling.steps=1", "--set", "sampling.sigmas=[1.0]", "--output", str(out)]
    assert job.main([*few, "--prompts", "a <b>red</b> star", "--words", "red"]) == 0
    page = (out / "figures.html").read_text()
    assert "a &lt;b&gt;red&lt;/b&gt; star" in page
    assert "<b>red" not in page
    assert "default-src 'none'" in page
    numbers = json.loads((out / "figures.json").read_text())
    assert [one["sigma"] for one in numbers["sweep"]] == [1.0, 3.5, 6.0]  # to that of the run
    assert numbers["sweep"][0]["right"] is None  # no prompt of the embedded world
    assert Image.open(out / "images" / "line-context.png").size == (4 * 64, 64)
    assert len({*(out / "images").iterdir()}) == 2 + 3 + 2 * 2
    assert job.main([*few, "--prompts", "a red star", "--words", "blue"]) == 2
    assert "--words: the prompt has no 'blue'" in capsys.readouterr().err
