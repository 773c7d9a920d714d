"""Before a commit runs what `make lint` runs."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.conftest import ROOT


def hooks() -> list[dict[str, Any]]:
    table = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = table["repos"]
    assert repository["repo"] == "local"
    return list(repository["hooks"])


def test_hooks_run_what_make_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in hooks()] == commands


def test_hooks_see_the_whole_project_and_fetch_nothing() -> None:
    for hook in hooks():
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False
    assert len({hook["id"] for hook in hooks()}) == len(hooks())


def test_the_program_is_pinned() -> None:
    assert "pre-commit" in (ROOT / "pyproject.toml").read_text()
    pins = (ROOT / "constraints.txt").read_text()
    assert all(re.search(rf"^{name}==\d", pins, re.MULTILINE) for name in ("pre_commit", "cfgv", "identify", "nodeenv"))
