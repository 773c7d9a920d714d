"""Models with fewer bits per weight: quantised while they are loaded, or read from a file. On a CPU; bitsandbytes
quantises transformers on GPUs only."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from models.errors import ModelError
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.loading.quantize import quantization
from models.loading.revision import content_revision
from models.spec import Group, ModelSpec, Quantized, Sampling
from tests.support import loras

GROUP = Group(
    prompt="a red star",
    seeds=(11, 12),
    sampling=Sampling(steps=2, guidance_scale=3.0, width=16, height=16, max_sequence_length=16),
)
BOTH = replace(GROUP, interventions=(ToraConfig(sigma=4.0), RepulsionConfig(strength=3.0)))
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="needs the package torchao")


def load(path: str, **settings: Any) -> Generator:
    return Generator(ModelSpec(path=path, dtype="float32", device="cpu", **settings))


def drawn(generator: Generator, group: Group = GROUP) -> NDArray[np.int64]:
    return generator.generate([group])[0].astype(int)


@pytest.fixture(scope="module")
def plain(tiny_pipeline: str) -> Generator:
    return load(tiny_pipeline)


@needs_torchao
@pytest.mark.parametrize("method", ["torchao-int8", "torchao-float8"])
@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_a_part_is_quantised_while_it_is_loaded(tiny_pipeline: str, plain: Generator, method: Any, part: str) -> None:
    narrow = load(tiny_pipeline, quantize=(Quantized(part=part, method=method),))
    off = np.abs(drawn(narrow) - drawn(plain))
    assert 0 < off.mean() < 12
    assert np.abs(drawn(narrow, BOTH) - drawn(narrow)).mean() > off.mean()


@needs_torchao
@pytest.mark.skipif(find_spec("peft") is None, reason="LoRAs need the package peft")
def test_loras_act_on_quantised_weights(tiny_pipeline: str, tmp_path: Path) -> None:
    ink = loras.lora(loras.save(tmp_path / "ink.safetensors", seed=0))
    narrow = load(tiny_pipeline, quantize=(Quantized(part="transformer", method="torchao-int8"),), loras=(ink,))
    assert np.abs(drawn(narrow) - drawn(load(tiny_pipeline, loras=(ink,)))).mean() < 12
    assert np.abs(drawn(narrow) - drawn(narrow, replace(GROUP, loras=()))).mean() > 12


def test_a_transformer_comes_from_a_file_of_its_own(tiny_pipeline: str, plain: Generator, tmp_path: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in plain.transformer.state_dict().items()}
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    save_file(weights, same)
    save_file({**weights, "proj_out.weight": weights["proj_out.weight"] * 2}, other)
    revision = content_revision(same)
    read = load(tiny_pipeline, transformer_file=str(same), transformer_file_revision=revision)
    assert np.array_equal(drawn(read), drawn(plain))
    assert not np.array_equal(drawn(load(tiny_pipeline, transformer_file=str(other))), drawn(plain))
    with pytest.raises(ModelError, match=f"planned with {revision}"):
        load(tiny_pipeline, transformer_file=str(other), transformer_file_revision=revision)


def test_a_transformer_comes_from_a_gguf_file(tiny_pipeline: str, plain: Generator, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    at = tmp_path / "q8.gguf"
    writer = gguf.GGUFWriter(at, "sd3")
    eight_bits = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in plain.transformer.state_dict().items():
        values = tensor.numpy()
        if name.startswith("transformer_blocks") and values.ndim == 2 and values.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quantize(values, eight_bits), raw_dtype=eight_bits)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    packed = load(tiny_pipeline, transformer_file=str(at))
    off = np.abs(drawn(packed) - drawn(plain))
    assert 0 < off.mean() < 12
    assert np.abs(drawn(packed, BOTH) - drawn(packed)).mean() > off.mean()


def test_what_does_not_fit_together_is_refused(tiny_pipeline: str) -> None:
    narrow = Quantized(part="transformer", method="torchao-int8")
    for settings in (
        {"quantize": (narrow, narrow)},
        {"quantize": (narrow,), "weights": "float8"},
        {"quantize": (narrow,), "compile": True},
        {"quantize": (narrow,), "transformer_file": "x.gguf"},
        {"transformer_file": "x.gguf", "weights": "float8"},
    ):
        with pytest.raises(ValueError, match="is out of range"):
            ModelSpec(path=tiny_pipeline, **settings)
    with pytest.raises(ValueError, match="needs the transformer or a text encoder"):
        Quantized(part="vae", method="torchao-int8")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"quantize": (Quantized(part="transformer", method="bitsandbytes-nf4"),)},
            "bitsandbytes-nf4 needs .* bitsandbytes,",
        ),
        ({"quantize": (Quantized(part="transformer", method="torchao-int8"),)}, "needs the package torchao,"),
        ({"transformer_file": "x.gguf"}, "'x.gguf' needs the package gguf, which is not installed: pip install gguf"),
    ],
)
def test_a_package_that_is_missing_is_named(
    tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("models.loading.packages.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=words):
        load(tiny_pipeline, **settings)


@needs_torchao
def test_a_part_that_is_not_loaded_is_not_quantised(tiny_pipeline: str) -> None:
    with pytest.raises(ModelError, match="'text_encoder_9' is not loaded"):
        load(tiny_pipeline, quantize=(Quantized(part="text_encoder_9", method="torchao-int8"),))


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the package bitsandbytes")
def test_bitsandbytes_is_asked_as_each_library_wants(tiny_pipeline: str, plain: Generator) -> None:
    """On a CPU it quantises text encoders, to 8 bits; transformers were not tried."""
    eight = load(tiny_pipeline, quantize=(Quantized(part="text_encoder", method="bitsandbytes-int8"),))
    assert 0 < np.abs(drawn(eight) - drawn(plain)).mean() < 12
    asked = tuple(Quantized(part=part, method="bitsandbytes-nf4") for part in ("transformer", "text_encoder"))
    spec = ModelSpec(path=tiny_pipeline, dtype="bfloat16", quantize=asked)
    made = quantization(spec, {"transformer": ("diffusers", ""), "text_encoder": ("transformers", "")}).quant_mapping
    assert [type(made[part]).__module__.split(".")[0] for part in made] == ["diffusers", "transformers"]
    for config in made.values():
        assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
        assert config.bnb_4bit_compute_dtype == torch.bfloat16
