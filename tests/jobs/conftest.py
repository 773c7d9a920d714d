"""A finished run for the tests of exports, and an untrained embedded world for those of experiments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.flows.finish import finish
from tests.support.toy_run import Toy, write_run

TOY = Toy(prompts=5, arms=("base", "both"), prompts_per_shard=2, side=16)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only read it: three shards, two arms."""
    folder = tmp_path_factory.mktemp("toy-run")
    finish(write_run(folder, TOY))
    return folder


@pytest.fixture
def own_toy_run(toy_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_run, tmp_path / "own"))


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the embedded model with random weights."""
    from models.embedded.training.untrained import save_untrained

    return save_untrained(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def untrained_oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of an oracle with random weights, always the same."""
    import torch
    from safetensors.torch import save_file

    from models.embedded.oracle import OracleNet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("oracle") / "oracle.safetensors"
    save_file(OracleNet().state_dict(), path)
    return path
