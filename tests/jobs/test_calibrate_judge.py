"""The job that judges judges: labels of a person and of the oracle, on a finished run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import calibrate_judge
from pipelines.errors import UserError
from pipelines.flows.finish import finish
from pipelines.judging.labels import OracleLabels
from tests.support.toy_run import Toy, write_run


def all_rows(run: Path) -> list[dict[str, Any]]:
    columns = ["image_id", "prompt", "rarity", "clip_score", "clip_margin"]
    return [row for folder in ("data", "rejected") for row in pq.read_table(run / folder, columns=columns).to_pylist()]


def test_labels_choose_a_rule_and_its_threshold(
    toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, to = tmp_path / "labels.csv", tmp_path / "judges"
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "label"])
        writer.writerows([row["image_id"], int((row["clip_margin"] or -1) > 0.02)] for row in all_rows(toy_run))
        writer.writerow(["elsewhere", 1])
    words = ["--dataset", str(toy_run), "--labels", str(labels), "--output", str(to)]
    assert calibrate_judge.main([*words, "--precision", "0.95"]) == 0
    said = capsys.readouterr().out
    assert "1 labels are of no image of the run" in said
    report = json.loads((to / "report.json").read_bytes())
    rules = {one["rule"]: one for one in report["rules"]}
    assert [*rules] == ["clip_score", "clip_margin"]
    assert rules["clip_margin"]["separation"]["mean"] == 1.0
    assert report["rules"][report["chosen"]]["rule"] == "clip_margin"
    assert rules["clip_margin"]["accept"] in said
    page = (to / "judges.html").read_text()
    assert (
        "no better than clip_score, as far as these prompts can tell; accepts 16 images unseen: their prompts" in page
    )
    own = ["--rule", "known(clip_margin) and clip_margin > 0.02 and rank_in_group <= 2", "--rule", "rank(clip_score)"]
    assert calibrate_judge.main([*words, *own]) == 0
    conditions = json.loads((to / "report.json").read_bytes())["rules"]
    assert conditions[1]["kept"]["precision"]["mean"] == 1.0
    assert conditions[1]["kept"]["recall"]["mean"] < 1.0


def test_the_oracle_of_the_embedded_world_labels(tmp_path: Path) -> None:
    finish(write_run(tmp_path / "run", Toy(prompts=12, arms=("base",))))
    words = ["--dataset", str(tmp_path / "run"), "--oracle", "--output", str(tmp_path / "judges"), "--precision", "0.5"]
    assert calibrate_judge.main(words) in (0, 1)
    report = json.loads((tmp_path / "judges" / "report.json").read_bytes())
    good = {name: [int(number) for number in count.split(" of ")] for name, count in report["good_by_rarity"].items()}
    assert good["common"][0] > 0.9 * good["common"][1]
    assert good["unseen"][0] < 0.8 * good["unseen"][1]  # the toy run falls back to the typical colour


def test_the_oracle_judges_an_edit_by_the_caption_of_what_it_is_to_show(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Toy(prompts=8, arms=("base",)))
    rows = pq.read_table(tmp_path / "run/data", columns=["image", "prompt"])
    said = OracleLabels().of(rows)
    assert {*said} == {True, False}
    captions = [prompt if at % 2 else None for at, prompt in enumerate(rows["prompt"].to_pylist())]
    edited = rows.append_column("target_caption", pa.array(captions, pa.string()))
    other = [prompt if at % 2 == 0 else "a red ring on snow" for at, prompt in enumerate(rows["prompt"].to_pylist())]
    edited = edited.set_column(1, "prompt", pa.array(other, pa.string()))
    assert OracleLabels().of(edited) == said
    assert OracleLabels().of(edited.slice(0, 0)) == []  # of a shard whose groups have all failed


def test_the_oracle_refuses_texts_and_pictures_of_another_world(tmp_path: Path) -> None:
    video = pa.array([{"bytes": b"an MP4, which it does not even open", "path": "v.mp4"}])
    with pytest.raises(UserError, match="the oracle knows the embedded world alone"):
        OracleLabels().of(pa.table({"image": video, "prompt": ["a dog that runs"]}))
    write_run(tmp_path / "run", Toy(prompts=1, arms=("base",), side=96))
    with pytest.raises(UserError, match="pictures of 64 x 64 pixels, and the run has some of 96 x 96"):
        OracleLabels().of(pq.read_table(tmp_path / "run/data", columns=["image", "prompt"]))


def test_what_does_not_fit_is_named(toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.csv"
    begin = ["--dataset", str(toy_run), "--output", str(tmp_path / "judges")]
    ids = [row["image_id"] for row in all_rows(toy_run)]
    for content, words, message in (
        ([*ids[:3]], [], "3 of 3 labelled images are good, of"),
        (["x"], [], "has no image with one of these labels"),
        (ids, ["--precision", "1.5"], "--precision = 1.5 is out of range"),
    ):
        labels.write_text("image_id,label\n" + "".join(f"{one},1\n" for one in content))
        assert calibrate_judge.main([*begin, "--labels", str(labels), *words]) == 2
        assert message in capsys.readouterr().err
    labels.write_text("image_id,label\n" + "".join(f"{one},{at % 2}\n" for at, one in enumerate(ids)))
    assert calibrate_judge.main([*begin, "--labels", str(labels), "--rule", "clip_scor"]) == 2
    assert "--rule: 'clip_scor' reads the column 'clip_scor'" in capsys.readouterr().err
    assert not (tmp_path / "judges").exists()
