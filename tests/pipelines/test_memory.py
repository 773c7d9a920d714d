"""Less memory: what the settings do to a model, and the estimate of what it needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.generator import Generator
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from models.spec import Group, ModelSpec, Sampling
from pipelines.flows import memory
from tests.conftest import Configure

GROUP = Group(
    prompt="a red star",
    seeds=(1, 2, 3),
    sampling=Sampling(steps=2, guidance_scale=3.0, width=16, height=16, max_sequence_length=4),
    interventions=(ToraConfig(), RepulsionConfig()),
)


def test_narrow_weights_and_an_autoencoder_in_parts(tiny_pipeline: str) -> None:
    whole = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", vae_slicing=False))
    in_parts = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", vae_tiling=True))
    narrow = Generator(ModelSpec(path=tiny_pipeline, dtype="float32", weights="float8"))
    linear = narrow._pipe.transformer.transformer_blocks[0].attn.to_q
    assert isinstance(linear, nn.Linear)
    assert linear.weight.dtype == torch.float8_e4m3fn
    expected = whole.generate([GROUP])[0].astype(int)
    assert [g.vae.use_slicing for g in (whole, in_parts, narrow)] == [False, True, True]
    assert [g.vae.use_tiling for g in (whole, in_parts)] == [False, True]
    assert np.abs(in_parts.generate([GROUP])[0].astype(int) - expected).max() <= 1
    off = np.abs(narrow.generate([GROUP])[0].astype(int) - expected)
    assert 0 < off.mean() < 40  # 3 bits of mantissa show, and the picture is the same


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offload_needs_a_gpu(tiny_pipeline: str, offload: str) -> None:
    with pytest.raises(ModelError, match="there is no GPU here"):
        Generator(ModelSpec(path=tiny_pipeline, device="cpu", offload=offload))  # type: ignore[arg-type] # parametrised


def test_the_estimate_counts_the_weights(tiny_pipeline: str, configure: Configure) -> None:
    parts = {name: memory.parameters(Path(tiny_pipeline) / name) for name in ("transformer", "vae", "text_encoder")}
    pipe = Generator(ModelSpec(path=tiny_pipeline, dtype="float32"))._pipe
    assert parts == {name: sum(t.numel() for t in getattr(pipe, name).state_dict().values()) for name in parts}

    def needed(**model: object) -> int:
        return memory.weight_bytes(configure(model={"path": tiny_pipeline, "dtype": "bfloat16", **model}), parts)

    total = sum(parts.values())
    assert needed() == 2 * total
    assert needed(dtype="float32") == 4 * total
    assert needed(weights="float8") == 2 * total - parts["transformer"]
    assert needed(offload="model") == 2 * max(parts.values())
    assert needed(offload="group") == 2 * (total - parts["transformer"])


def test_the_estimate_counts_what_is_loaded(tiny_pipeline: str, tmp_path: Path, configure: Configure) -> None:
    def counted(path: str, **model: object) -> dict[str, int]:
        found = memory.sizes(configure(model={"path": path, **model}))
        assert found is not None
        return found

    plain = counted(tiny_pipeline)
    both = Path(shutil.copytree(tiny_pipeline, tmp_path / "both"))
    (transformer,) = (both / "transformer").glob("*.safetensors")
    (decoder,) = (both / "vae").glob("*.safetensors")
    shutil.copy(decoder, transformer.with_name("model.fp16-00001-of-00001.safetensors"))
    assert counted(str(both)) == plain
    assert counted(str(both), variant="fp16") == plain | {"transformer": plain["vae"]}
    (tmp_path / "model.gguf").write_bytes(bytes(1000))
    narrow = {"dtype": "float32", "quantize": [{"part": "text_encoder", "method": "torchao-int8"}]}
    config = configure(model={"path": tiny_pipeline, "transformer_file": str(tmp_path / "model.gguf"), **narrow})
    others = sum(plain.values()) - plain["transformer"] - plain["text_encoder"]
    assert memory.weight_bytes(config, plain) == 1000 + plain["text_encoder"] + 4 * others
    large = "stabilityai/stable-diffusion-3.5-large"
    assert counted(large, drop=["text_encoder_3"]).keys() == counted(large).keys() - {"text_encoder_3"}


def test_the_estimate_knows_the_division(tiny_pipeline: str, configure: Configure) -> None:
    tables = {
        "model": {"path": tiny_pipeline, "vae_slicing": False},
        "sampling": {"width": 1024, "height": 1024},
        "group": {"size": 8},
    }
    alone, divided = configure(**tables), configure(**tables, ray={"gpus_per_replica": 4})
    working = [memory.activation_bytes(config, memory.shared(config)) for config in (alone, divided)]
    assert working[0] == 4 * working[1]
    assert "on each of 4 (group 4)" in memory.describe(divided)
    assert memory.describe(configure()).startswith("unknown")


def test_the_estimate_knows_published_models_and_other_settings(configure: Configure) -> None:
    config = configure(
        model={"path": "black-forest-labs/FLUX.2-dev", "offload": "model"}, ray={"gpus_per_generator": 1}
    )
    chosen, *others = memory.describe(config).splitlines()
    assert "64.0 GB of weights (bfloat16, weights = 'dtype', offload = 'model')" in chosen
    assert len({line.strip() for line in others}) == 5
    whole = configure(model={"path": config.model.path, "compile": True}, ray={"gpus_per_generator": 1})
    assert len(memory.describe(whole).splitlines()) == 2  # compiled blocks allow offload of whole parts only
    assert all("GB with weights = " in line for line in others)


def test_the_estimate_of_videos_counts_their_frames(tiny_pipeline: str, configure: Configure) -> None:
    def working(frames: int, **model: object) -> int:
        sampling = {"width": 512, "height": 512, "frames": frames}
        config = configure(model={"path": tiny_pipeline, **model}, sampling=sampling, group={"size": 64})
        assert memory.latent_frames(config) == (frames + 3) // 4
        return memory.activation_bytes(config, memory.shared(config))

    picture, short, long = (working(frames) for frames in (1, 49, 97))
    assert long / short == pytest.approx(97 / 49, rel=0.01)  # the autoencoder's, of frames that are decoded together
    assert picture < short
    assert working(97, vae_tiling=True) < short


@pytest.mark.parametrize(
    "model",
    [{"offload": "group"}, {"offload": "model", "weights": "float8"}, {"vae_slicing": False, "vae_tiling": True}],
)
def test_the_choice_is_recorded(configure: Configure, model: dict[str, object]) -> None:
    recorded = configure(model={"path": "owner/model", **model}).to_dict()["model"]
    assert {name: recorded[name] for name in model} == model
