"""What the tests of settings, plans and quotas share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.support.planned import Planner


@pytest.fixture
def plan(tmp_path: Path, configure: Configure) -> Planner:
    return Planner(tmp_path, configure)


_MINIMAL = """
[run]
output = "out/x"
[prompts]
path = "p.txt"
[model]
path = "owner/model"
[scoring]
model = "ViT-B-32"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """The shortest TOML file of a run."""
    path = tmp_path / "run.toml"
    path.write_text(_MINIMAL)
    return path


@pytest.fixture
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests with thousands of small files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
