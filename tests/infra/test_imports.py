"""The import rules that no tool checks: cheap imports, and names that belong to this project alone."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    "module",
    ["config.load", "prompts.rows", "plan.write", "dataset.finished", "flows.preflight", "flows.dry_run", "console"],
)
def test_light_modules_stay_light(module: str) -> None:
    code = f"import sys, pipelines.{module}; print([m for m in ('torch', 'ray', 'diffusers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["models", "pipelines", "jobs"])
def test_our_names_are_ours(package: str) -> None:
    file = import_module(package).__file__
    assert file is not None
    assert Path(file).parent == ROOT / package
    assert set(packages_distributions().get(package, [])) <= {"raydiance"}
