"""The benchmarks of the interventions, on models small enough to run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs import bench
from jobs.benchmarks import refresh
from models.spec import Sampling


def test_the_error_of_decomposing_in_fewer_steps(
    tmp_path: Path, tiny_pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline").symlink_to(tiny_pipeline)
    sampling = Sampling(steps=4, guidance_scale=3.0, width=16, height=16, max_sequence_length=4)
    monkeypatch.setattr(refresh, "WEIGHTS", tmp_path)
    monkeypatch.setattr(refresh, "SAMPLING", sampling)
    monkeypatch.setattr(refresh, "PROMPTS", ("a red star",))
    assert bench.main(["refresh", "--images", "2", "--refresh-steps", "2", "4"]) == 0
    shown = re.findall(r"^ +(\d) +([\d.]+)% +([\d.]+)% +([\d.]+)%$", capsys.readouterr().out, re.MULTILINE)
    assert [(row[0], float(row[1]) > 0.0) for row in shown] == [("2", True), ("4", True)] * 2
