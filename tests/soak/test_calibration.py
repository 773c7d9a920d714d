"""A calibration of the embedded model chooses what the oracle chooses by the same rule, from the same pictures."""

from __future__ import annotations

import csv
import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs import calibrate
from models.embedded import measures, promptset
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
    """Two minutes on two cores."""
    monkeypatch.chdir(ROOT)
    found = tmp_path / "found"
    assert calibrate.main(["--config", "jobs/configs/demo.toml", "--output", str(found)]) == 0
    content = json.loads((found / "report.json").read_bytes())
    assert len(content["prompts"]) == 8
    output, oracle = Storage.open(found), Oracle()
    seen = [as_the_oracle_sees_it(setting, content["prompts"], output, oracle) for setting in content["settings"]]
    assert choose(seen) == content["chosen"]


def test_the_oracle_sees_the_gain_in_the_chosen_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TORA in the last blocks and not in all, of the model in four steps: a minute on two cores."""
    monkeypatch.chdir(ROOT)
    with (tmp_path / "prompts.csv").open("w") as file:
        lines = csv.writer(file)
        lines.writerow(["prompt", "counterfactual"])
        for kind in ("colour", "texture"):
            for rarity in ("rare", "unseen"):
                singles = promptset.single_prompts(kind, rarity)
                for several in (singles, promptset.relation_prompts(kind, rarity, seed=1)):
                    lines.writerows([one.prompt, one.counterfactual] for one in islice(several, 3))
    words = ["--config", "jobs/configs/demo.toml", "--output", str(tmp_path / "found")]
    stages = "[{tora = {sigma = [3.0], blocks = [[0.0, 1.0], [0.5, 1.0], [0.625, 1.0]]}}]"
    changed = {"prompts.path": tmp_path / "prompts.csv", "calibration.prompts": 18, "calibration.stages": stages}
    changed |= {"group.size": 4}
    words += [word for item in changed.items() for word in ("--set", "{}={}".format(*item))]
    assert calibrate.main(words) == 0
    content = json.loads((tmp_path / "found" / "report.json").read_bytes())
    assert len(content["prompts"]) == 18
    output, oracle = Storage.open(tmp_path / "found"), Oracle()
    seen = [as_the_oracle_sees_it(setting, content["prompts"], output, oracle) for setting in content["settings"]]
    blocks = [setting["acting"].get("tora", {}).get("blocks") for setting in content["settings"]]
    assert blocks[content["chosen"]] in ([0.5, 1.0], [0.625, 1.0])
    by_the_oracle = choose(seen)
    assert by_the_oracle is not None
    assert blocks[by_the_oracle] in ([0.5, 1.0], [0.625, 1.0])
    stock, everywhere, chosen = seen[0], seen[blocks.index([0.0, 1.0])], seen[content["chosen"]]
    assert chosen.mean_match > max(stock.mean_match, everywhere.mean_match)
