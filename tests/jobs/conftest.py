"""A finished run for the tests of exports."""

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
