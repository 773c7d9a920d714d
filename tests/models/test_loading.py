"""A model is loaded as its user says: number format, set of files, without parts, with another sampler."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.generator import Generator
from models.loading import dtype as module
from models.loading.dtype import resolved, slowness
from models.spec import Group, ModelSpec, Sampling
from tests.support.toys import pipelines as toys

GROUP = Group(
    prompt="a red star",
    seeds=(11, 12),
    sampling=Sampling(steps=2, guidance_scale=3.0, width=16, height=16, max_sequence_length=16),
)
FAST, SLOW, SILENT = "flags: avx2 avx512_bf16", "flags: avx2", None


@pytest.fixture(scope="module")
def with_t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toys.save("sd3", tmp_path_factory.mktemp("t5"))


def spec(path: str, **settings: Any) -> ModelSpec:
    return ModelSpec(path=path, device="cpu", **{"dtype": "float32", **settings})


@pytest.mark.parametrize(
    ("flags", "device", "gpus", "dtype"),
    [
        (SLOW, "auto", True, "bfloat16"),
        (SLOW, "auto", False, "float32"),
        (FAST, "auto", False, "bfloat16"),
        (SILENT, "auto", False, "float32"),
        (SLOW, "cpu", True, "float32"),
        (SLOW, "cuda:1", False, "bfloat16"),
    ],
)
def test_a_number_format_is_chosen_for_the_device(
    flags: str | None, device: str, gpus: bool, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = tmp_path / "cpuinfo"
    if flags is not None:
        cpu.write_text(flags)
    monkeypatch.setattr(module, "_CPU", cpu)
    monkeypatch.setenv("PATH", "")  # where no driver says which GPU this machine has
    chosen = resolved(ModelSpec(path="owner/model", device=device), gpus=gpus)
    assert chosen.dtype == dtype
    assert not slowness(chosen, gpus=gpus)


@pytest.mark.parametrize(
    ("told", "dtype", "slow"),
    [
        ("Tesla T4, 7.5", "bfloat16", "the GPU Tesla T4 of this machine has no units for it"),
        ("NVIDIA H100 80GB HBM3, 9.0\nTesla V100-SXM2-32GB, 7.0", "bfloat16", "the GPU Tesla V100-SXM2-32GB"),
        ("Tesla T4, 7.5", "float16", ""),
        ("NVIDIA A100-SXM4-40GB, 8.0", "bfloat16", ""),
        ("NVIDIA B200, 10.0", "bfloat16", ""),
        ("GRID, [N/A]", "bfloat16", ""),
        (None, "bfloat16", ""),
    ],
)
def test_a_gpu_that_only_emulates_bfloat16_is_warned_of(
    told: str | None, dtype: Any, slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nexit 9\n" if told is None else f"#!/bin/sh\ncat <<END\n{told}\nEND\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said = slowness(ModelSpec(path="owner/model", dtype=dtype), gpus=True)
    assert slow in said if slow else not said


def test_a_generator_says_which_one_it_was(tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU", Path("/nowhere"))
    generator = Generator(ModelSpec(path=tiny_pipeline, device="cpu"))
    assert generator.info.dtype == "float32"
    assert generator.transformer.dtype == torch.float32


def test_a_set_of_files_is_chosen_by_its_name(tiny_pipeline: str, tmp_path: Path) -> None:
    both = Path(shutil.copytree(tiny_pipeline, tmp_path / "both"))
    transformer = diffusers.SD3Transformer2DModel.from_pretrained(both / "transformer")
    transformer.proj_out.weight.data.mul_(2)
    transformer.save_pretrained(both / "transformer", variant="strong")
    plain, strong = (Generator(spec(str(both), variant=variant)) for variant in ("", "strong"))
    assert np.array_equal(plain.generate([GROUP])[0], Generator(spec(tiny_pipeline)).generate([GROUP])[0])
    assert torch.equal(strong.transformer.proj_out.weight, 2 * plain.transformer.proj_out.weight)
    with pytest.raises(ModelError, match=r"cannot be loaded as a diffusers pipeline .*fp8"):
        Generator(spec(tiny_pipeline, variant="fp8"))


def test_without_t5_it_is_the_stock_pipeline_without_t5(with_t5: str) -> None:
    dropped = Generator(spec(with_t5, drop=("text_encoder_3",)))
    assert dropped._pipe.text_encoder_3 is dropped._pipe.tokenizer_3 is None
    classes: Any = diffusers
    stock = classes.StableDiffusion3Pipeline.from_pretrained(with_t5, text_encoder_3=None, tokenizer_3=None)
    images = stock(
        "a red star",
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in GROUP.seeds],
        num_inference_steps=2,
        guidance_scale=3.0,
        width=16,
        height=16,
        max_sequence_length=16,
    ).images
    made = dropped.generate([GROUP])[0]
    assert np.array_equal(made, np.stack([np.asarray(image) for image in images]))
    assert not np.array_equal(made, Generator(spec(with_t5)).generate([GROUP])[0])


def test_a_part_that_is_needed_is_not_dropped(tiny_pipeline: str) -> None:
    with pytest.raises(ModelError, match=r"model\.drop = 'text_encoder': sd3 .* runs without: text_encoder_3"):
        Generator(spec(tiny_pipeline, drop=("text_encoder",)))


def test_another_sampler_and_shift_make_other_pictures(tiny_pipeline: str) -> None:
    own = Generator(spec(tiny_pipeline))
    for settings in ({"scheduler": "FlowMatchHeunDiscreteScheduler"}, {"shift": 3.0}):
        other = Generator(spec(tiny_pipeline, **settings))
        assert other.info.scheduler == settings.get("scheduler", own.info.scheduler)
        assert not np.array_equal(other.generate([GROUP])[0], own.generate([GROUP])[0])
