"""Workers, and what they have loaded, outlive the rounds of a job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.stages.generate import GenerateShard
from tests.support.job import PLAIN, QUOTAS, complete, files_of, rows, run_inline, write_job


class CountedGenerateShard(GenerateShard):
    """Leaves a file beside the output for every time a model is loaded."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._output.write_bytes(f"../load-{os.urandom(6).hex()}", b"")


def test_the_rounds_of_a_run_with_quotas_load_a_model_once_for_each_generator(
    tmp_path: Path,
    tiny_pipeline: str,
    tiny_clip: str,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The bytes are those of the stages called one after the other, without Ray."""
    monkeypatch.setattr("pipelines.flows.synth.GenerateShard", CountedGenerateShard)
    synth = write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    assert synth(*QUOTAS) == 0
    out = tmp_path / "out"
    assert complete(out)
    assert len(rows(out / "data", "prompt")) == 24
    assert capsys.readouterr().err.count("after round ") > 2
    assert len([*tmp_path.glob("load-*")]) == 1
    made = files_of(out)
    out.rename(tmp_path / "through-ray")
    assert run_inline(tmp_path, *QUOTAS).complete
    assert files_of(out) == made
