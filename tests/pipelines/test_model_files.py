"""What a job reads of a model's folder before it loads the model: damage is one sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.errors import ModelError
from models.recommended import recommended
from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.flows import memory, preflight
from pipelines.flows.dry_run import flops_per_image
from tests.conftest import Configure

WRONG = [b"", b"[]", b"{", b"null", b"[" * 100_000, b"\xff\xfe\0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline as far as it is read: configs, and weights of 12 numbers."""
    folder = tmp_path / "model"
    for component, config in {
        "vae": {"block_out_channels": [1, 2, 3]},
        "transformer": {"patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 8},
    }.items():
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((3, 4), np.float32)}, folder / "transformer" / "model.safetensors")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    return folder


@pytest.fixture
def config(folder: Path, configure: Configure) -> RunConfig:
    return configure(model={"path": str(folder)}, scoring={"model": "ViT-B-32", "pretrained": "openai"})


def test_what_is_whole_is_counted(config: RunConfig) -> None:
    tokens = 1024 * 1024 / (2 * 4) ** 2 + 154
    assert flops_per_image(config) == 2 * 12 * tokens * 2 * config.sampling.steps
    assert memory.describe(config).startswith("about")
    assert preflight.check(config).model.revision.startswith("content-")


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:8]))
def test_what_is_damaged_is_named(content: bytes, folder: Path, config: RunConfig) -> None:
    for file in ("vae/config.json", "transformer/config.json", "transformer/model.safetensors"):
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(content)
        with pytest.raises(UserError, match=f"{folder}/{file} is not "):
            flops_per_image(config)
        (folder / file).write_bytes(before)
    (folder / "model_index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"has no readable model_index\.json"):
        preflight.check(config)
    if content.startswith((b"[[", b"{", b"\xff")) or not content:
        with pytest.raises(ModelError, match=r"model_index\.json cannot be read"):
            recommended(str(folder))


@pytest.mark.parametrize("header", [b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{}", b"\x0c" + b"\0" * 7 + b'{"a": {"b":1}}'])
def test_weights_without_a_header_are_named(header: bytes, folder: Path, config: RunConfig) -> None:
    (folder / "transformer" / "model.safetensors").write_bytes(header)
    if header.endswith(b"{}"):
        assert memory.parameters(folder / "transformer") == 0
        return
    with pytest.raises(UserError, match=r"model\.safetensors is not a file of weights"):
        memory.parameters(folder / "transformer")


def test_an_autoencoder_that_says_it_otherwise_is_no_error(folder: Path, config: RunConfig) -> None:
    """Qwen-Image's has `dim_mult`."""
    (folder / "vae" / "config.json").write_text('{"dim_mult": [1, 2, 4]}')
    assert flops_per_image(config) is None
    (folder / "vae" / "config.json").unlink()
    assert flops_per_image(config) is None


@pytest.mark.parametrize("path", ["a/b--c", "a/..b", f"a/{'b' * 97}", "-a/b"])
def test_a_hub_id_that_cannot_be_is_named(path: str, configure: Configure) -> None:
    config = configure(model={"path": path}, scoring={"model": "ViT-B-32", "pretrained": "openai"})
    with pytest.raises(UserError, match=r"model\.path = '"):
        preflight.check(config)
