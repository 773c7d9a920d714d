"""What the tests of plans share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.support.planned import Planner


@pytest.fixture
def plan(tmp_path: Path, configure: Configure) -> Planner:
    return Planner(tmp_path, configure)
