"""A calibration of the embedded model chooses what the oracle chooses by the same rule, from the same pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs import calibrate
from models.embedded import measures
from models.embedded.oracle import Oracle
from pipelines.calibration.choose import Tried, choose
from pipelines.calibration.draw import picture_of
from pipelines.dataset.storage import Storage
from tests.conftest import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]
_SIDE = 64


def as_the_oracle_sees_it(setting: dict[str, Any], prompts: list[str], output: Storage, oracle: Oracle) -> Tried:
    readings = []
    for name in setting["groups"]:
        with Image.open(io.BytesIO(output.read_bytes(picture_of(name)))) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        readings.append(oracle.read(np.stack(np.split(pixels, pixels.shape[1] // _SIDE, axis=1))))
    return Tried(
        match=[measures.success(prompt, reading) for prompt, reading in zip(prompts, readings, strict=True)],
        diversity=np.array([measures.pair_vendi(reading) for reading in readings]),
        blew_up=0,
    )


def test_the_oracle_makes_the_same_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes on two cores."""
    monkeypatch.chdir(ROOT)
    found = tmp_path / "found"
    assert calibrate.main(["--config", "jobs/configs/demo.toml", "--output", str(found)]) == 0
    content = json.loads((found / "report.json").read_bytes())
    assert len(content["prompts"]) == 6
    output, oracle = Storage.open(found), Oracle()
    seen = [as_the_oracle_sees_it(setting, content["prompts"], output, oracle) for setting in content["settings"]]
    assert choose(seen) == content["chosen"]
