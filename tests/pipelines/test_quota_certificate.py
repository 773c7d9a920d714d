"""What a run says of its quotas: the certificate, exports, and what is expected before it begins."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import export
from models.embedded import WEIGHTS
from pipelines import console
from pipelines.dataset.progress_json import ProgressFile, Quotas
from pipelines.dataset.storage import Storage
from pipelines.flows import dry_run
from pipelines.flows.finish import finish
from tests.support.job import rows
from tests.support.killing import dies_at_write
from tests.support.quota_world import PROMPTS, WORLD, configured, filled

pytestmark = pytest.mark.usefixtures("no_waiting_for_disks")


def test_the_certificate_says_what_came_of_each_quota_and_why(tmp_path: Path) -> None:
    config = configured(tmp_path, {**PROMPTS, "some": ["a thing that fails"]}, {"accepted": 9, "most_groups": 12})
    filled(config, WORLD)
    summary = finish(Storage.open(tmp_path / "out"))
    assert summary.complete
    assert summary.quotas
    assert summary.quotas == Quotas(quotas=4, met=1, asked=36, accepted=15, made=summary.quotas.made)
    assert "quotas: 1 of 4 met, 15 of 36 images accepted" in console.table(summary)
    out = tmp_path / "out"
    files = json.loads((out / "manifest.json").read_bytes())["files"]
    assert "certificate.parquet" in {entry["path"] for entry in files}
    assert "1 of 4 quotas are met" in (out / "README.md").read_text()
    found = {row["quota"]: row for row in pq.read_table(out / "certificate.parquet").to_pylist()}
    images = Counter(concept for folder in ("data", "rejected") for (concept,) in rows(out / folder, "concept"))
    for concept, row in found.items():
        assert row["made"] == images[concept] == sum(arm["made"] for arm in row["arms"])
        assert row["passed"] == row["accepted"] + row["repeats"] + row["over_quota"]
        assert row["accepted"] == sum(arm["accepted"] for arm in row["arms"])
        assert row["acceptance"]["low"] <= row["acceptance"]["value"] <= row["acceptance"]["high"]
        stored = {one[0] for one in rows(out / "data", "image_id, concept") if one[1] == concept}
        assert {one["image_id"] for one in row["examples"]} <= stored
        assert len(row["examples"]) == min(row["accepted"], 6)
    assert (found["easy"]["state"], found["easy"]["reason"]) == ("met", None)
    assert found["easy"]["modes_unseen"]["high"] >= 200 - 9
    assert found["poor"]["reason"].startswith("new ones repeat old ones: 42 of 48 valid images repeat the 6 accepted")
    assert found["poor"]["modes_unseen"]["high"] < 1.5
    assert found["never"]["reason"].startswith("0 of 48 images passed the judge")
    assert found["some"]["reason"] == "all 12 groups failed: see failed/"
    page = (out / "certificate.html").read_text()
    assert "<b>1 of 4 quotas met</b>; <b>3 given up</b>" in page
    assert page.count("<img") == 12
    assert page.index("never") < page.index(">easy<")


def test_an_export_has_the_certificate_and_its_card_names_what_was_given_up(tmp_path: Path) -> None:
    never = {f"never {number}": [f"a thing that never is {number}"] for number in range(11)}
    config = configured(tmp_path, {"easy": PROMPTS["easy"], **never}, {"accepted": 4, "most_groups": 1})
    filled(config, {"easy": WORLD["easy"], **dict.fromkeys(never, WORLD["never"])})
    finish(Storage.open(tmp_path / "out"))
    to = tmp_path / "tars"
    assert export.main(["--dataset", str(tmp_path / "out"), "--to", str(to), "--format", "webdataset"]) == 0
    assert (to / "certificate.parquet").read_bytes() == (tmp_path / "out/certificate.parquet").read_bytes()
    assert "certificate.parquet" in {file["path"] for file in json.loads((to / "manifest.json").read_bytes())["files"]}
    for card in (to / "README.md", tmp_path / "out/README.md"):
        text = card.read_text()
        assert "1 of 12 quotas are met" in text
        assert text.count("images passed the judge") == 10  # the page and the file have them all
        assert "| `never 0` | 0 | 4 | 4 | 0 of 4 images passed the judge" in text
        assert "1 more was given up" in text
    assert "certificate.html" not in (to / "README.md").read_text()


def test_the_certificate_of_a_run_that_goes_on_is_gone_until_it_ends(tmp_path: Path) -> None:
    small, large = ({"accepted": count, "most_groups": 40} for count in (5, 50))
    filled(configured(tmp_path, {"easy": PROMPTS["easy"]}, small), WORLD)
    config = configured(tmp_path, {"easy": PROMPTS["easy"]}, large)
    assert not dies_at_write(partial(filled, config, WORLD), 20)
    assert not (tmp_path / "out" / "certificate.parquet").exists()
    filled(config, WORLD)
    assert pq.read_table(tmp_path / "out" / "certificate.parquet")["asked"].to_pylist() == [50]


def test_a_dry_run_says_what_quotas_cost_at_several_rates_and_at_that_of_the_run_so_far(tmp_path: Path) -> None:
    models = {
        "model": {"path": str(WEIGHTS / "pipeline"), "dtype": "float32"},
        "scoring": {"model": f"local-dir:{WEIGHTS / 'clip'}"},
    }
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12}, **models)
    said = dry_run.describe(config).splitlines()
    assert "quotas   3 of 9 accepted images, in groups of 4" in said
    assert [line.partition(" images of ")[0] for line in said if "accepted" in line][1:] == [
        "50%      accepted: 60",
        "20%      accepted: 144",
        "5%       accepted, given up before they are met: 144",
    ]
    assert not any(line.startswith("groups") for line in said)
    filled(config, WORLD)
    assert re.search(r"^\d+% +accepted, as in the run so far", dry_run.describe(config), re.MULTILINE)


def test_progress_says_how_far_quotas_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, PROMPTS, {"accepted": 9, "most_groups": 12})
    world = filled(config, WORLD)
    assert world.told[0] is None
    first = world.told[1]
    assert first
    assert (first.quotas, first.asked) == (3, 27)
    assert 0 < first.made < world.images
    assert re.search(r"after round \d: 1 of 3 quotas met, 15 of 27 images accepted", capsys.readouterr().err)
    output = Storage.open(tmp_path / "out")
    file = ProgressFile(output, images=10, done=0, workers={})
    with file.session():
        file.expect(20, first)
    written = json.loads((tmp_path / "out" / "progress.json").read_bytes())
    assert (written["images"], written["quotas"]["asked"]) == (20, 27)
