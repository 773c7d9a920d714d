"""The quality of a whole dataset: repeats over all groups, in the report and out of exports; a reference set."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import export, quality
from models.alike import repeats
from models.covariance import matching
from tests.support.job import PLAIN, run_inline, write_job
from tests.support.killing import dies_at_write

SIMILARITY = "0.8"


def test_repeats_are_reported_and_left_out_of_exports(toy_run: Path, tmp_path: Path) -> None:
    to = tmp_path / "quality"
    assert quality.main(["--dataset", str(toy_run), "--similarity", SIMILARITY, "--output", str(to)]) == 0
    data = pq.read_table(toy_run / "data")
    vectors = np.array(data["embedding"].to_pylist(), np.float16)
    first_N, _ = repeats(vectors, float(SIMILARITY))
    ids = np.array(data["image_id"].to_pylist())
    found = pq.read_table(to / "repeats.parquet")
    assert found["image_id"].to_pylist() == ids[first_N >= 0].tolist()
    assert found["repeats"].to_pylist() == ids[first_N[first_N >= 0]].tolist()
    report = json.loads((to / "quality.json").read_bytes())
    assert report["arms"][0]["repeats"] == (first_N >= 0).sum() > 3
    assert sum(arm["repeats"] for arm in report["arms"][1:]) == report["arms"][0]["repeats"]
    assert sum(report["repeated_concepts"].values()) == report["arms"][0]["repeats"]

    words = ["--dataset", str(toy_run), "--format", "huggingface", "--drop-repeats", SIMILARITY]
    assert export.main([*words, "--to", str(tmp_path / "hf")]) == 0
    (file,) = (tmp_path / "hf" / "data").glob("*.parquet")
    assert pq.read_table(file)["image_id"].to_pylist() == ids[first_N < 0].tolist()
    assert export.main([*words[:-1], "0.9", "--to", str(tmp_path / "hf")]) == 2  # another export


def test_what_is_dropped_repeats_what_is_kept_and_arms_are_compared_among_themselves(
    toy_run: Path, tmp_path: Path
) -> None:
    to = tmp_path / "quality"
    assert quality.main(["--dataset", str(toy_run), "--similarity", "0.7", "--rejected", "--output", str(to)]) == 0
    found = pq.read_table(to / "repeats.parquet").to_pylist()
    assert {row["file"].split("/")[0] for row in found} == {"data", "rejected"}
    words = ["--dataset", str(toy_run), "--format", "huggingface", "--arm", "both", "--drop-repeats", "0.7"]
    assert export.main([*words, "--to", str(tmp_path / "hf")]) == 0
    data = pq.read_table(toy_run / "data", filters=[("arm", "=", "both")])
    first_N, _ = repeats(np.array(data["embedding"].to_pylist(), np.float16), 0.7)
    (file,) = (tmp_path / "hf" / "data").glob("*.parquet")
    assert pq.read_table(file).num_rows == (first_N < 0).sum() < data.num_rows


def test_an_export_accepts_by_scores_before_it_looks_for_repeats(
    toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["--dataset", str(toy_run), "--format", "huggingface"]
    accept = "(clip_score > 0.29 or clip_margin > 0.02) and clip_score >= group_mean(clip_score)"
    assert export.main([*begin, "--to", str(tmp_path / "a"), "--accept", accept]) == 0
    assert export.main([*begin, "--to", str(tmp_path / "b"), "--accept", accept, "--drop-repeats", SIMILARITY]) == 0
    rows = [row for folder in ("data", "rejected") for row in pq.read_table(toy_run / folder).to_pylist()]
    means = {
        row["group_id"]: np.mean([o["clip_score"] for o in rows if o["group_id"] == row["group_id"]]) for row in rows
    }
    good = [
        row
        for row in rows
        if row["keep"]
        and row["clip_score"] >= means[row["group_id"]]
        and (row["clip_score"] > 0.29 or row["clip_margin"] is None or row["clip_margin"] > 0.02)
    ]
    exported = [pq.read_table(next((tmp_path / name / "data").glob("*.parquet"))) for name in ("a", "b")]
    assert exported[0]["image_id"].to_pylist() == [row["image_id"] for row in good]
    assert 0 < len(good) < sum(row["keep"] for row in rows)
    first_N, _ = repeats(np.array([row["embedding"] for row in good], np.float16), float(SIMILARITY))
    assert exported[1]["image_id"].to_pylist() == [good[at]["image_id"] for at in np.flatnonzero(first_N < 0)]
    for condition, message in (
        ("clip_scor > 0", "did you mean 'clip_score'?"),
        ("clip_score", "needs a comparison"),
        ("clip_score >", "no expression"),
    ):
        assert export.main([*begin, "--to", str(tmp_path / "c"), "--accept", condition]) == 2
        assert message in capsys.readouterr().err


def test_a_reference_is_embedded_by_the_run_s_scorer(tmp_path: Path, tiny_pipeline: str, tiny_clip: str) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:3])
    assert run_inline(tmp_path, "arms=[{name='stock'}]").complete
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    rows = pq.read_table(tmp_path / "out" / "data").to_pylist()
    for row in rows:
        (photos / f"{row['image_id']}.png").write_bytes(row["image"]["bytes"])
    Image.new("RGB", (40, 24), "red").save(photos / "other.jpg")
    words = ["--dataset", str(tmp_path / "out"), "--reference", str(tmp_path / "photos"), "--k", "2"]
    assert quality.main([*words, "--output", str(tmp_path / "q")]) == 0
    report = json.loads((tmp_path / "q" / "quality.json").read_bytes())
    assert (report["reference_images"], report["k"], report["arms"][0]["images"]) == (10, 2, 9)
    assert report["arms"][0]["covers"]["precision"] == 1.0  # each is in the reference
    assert report["arms"][0]["covers"]["recall"] >= 0.9
    assert report["arms"][1]["covers"] == report["arms"][0]["covers"]


PLUGIN = """
import numpy as np

from models.scorers import registry
from models.scorers.base import Entry, GroupScores


class Own:
    name, dim = "own", 16  # as many as a toy run has

    def score(self, groups):
        vectors = [group.pixels_BHWC.reshape(1, -1)[:, :16].astype(np.float32) / 255 for group in groups]
        return [GroupScores(score_B=np.zeros(1, np.float32), features_BD=vector) for vector in vectors]


registry.register("own_of_quality", Entry(open=lambda spec, device: Own(), vectors=True))
"""


@pytest.fixture
def with_own_scorer(toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose scorer is that of `PLUGIN`."""
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    record = json.loads((run / "run.json").read_bytes())
    record["config"]["run"]["plugins"] = ["scorer_of_quality"]
    record["config"]["scoring"] = {"kind": "own_of_quality"}
    (run / "run.json").write_text(json.dumps(record))
    (tmp_path / "scorer_of_quality.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return run


def test_a_reference_is_embedded_by_a_scorer_of_the_run_s_plugins_too(with_own_scorer: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for shade in range(3):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(photos / f"{shade}.png")
    words = ["--dataset", str(with_own_scorer), "--reference", str(photos), "--k", "2"]
    assert quality.main([*words, "--output", str(tmp_path / "q")]) == 0
    assert json.loads((tmp_path / "q/quality.json").read_bytes())["reference_images"] == 3


def test_an_export_has_the_images_that_vary_as_real_pictures_do(
    with_own_scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels_MHWC = np.random.default_rng(0).integers(256, size=(9, 4, 6, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels_MHWC):
        Image.fromarray(picture).save(photos / f"{number}.png")
    begin = ["--dataset", str(with_own_scorer), "--format", "huggingface", "--to", str(tmp_path / "hf")]
    words = [*begin, "--rejected", "--drop-repeats", SIMILARITY, "--match-covariance", str(photos), "--match-count"]
    assert export.main([*words, "5"]) == 0
    data = pq.read_table(with_own_scorer / "data")
    vectors, ids = np.array(data["embedding"].to_pylist(), np.float16), np.array(data["image_id"].to_pylist())
    left = np.flatnonzero(repeats(vectors, float(SIMILARITY))[0] < 0)
    chosen = left[np.sort(matching(vectors[left], pixels_MHWC.reshape(9, -1)[:, :16] / 255, 5))]
    exported = {name: pq.read_table(tmp_path / "hf" / name) for name in ("data", "rejected")}
    assert exported["data"]["image_id"].to_pylist() == ids[chosen].tolist()
    assert exported["rejected"].num_rows > 0  # the choice is among what was kept
    assert export.main([*words, "4"]) == 2  # another export
    assert "match_count" in capsys.readouterr().err
    assert export.main([*words, "500"]) == 2
    assert f"500 of {len(left)} candidates" in capsys.readouterr().err
    for alone in (["--match-count", "5"], ["--match-covariance", str(photos)]):
        with pytest.raises(SystemExit):
            export.main([*begin, *alone])


def test_a_measurement_that_is_killed_may_be_started_again(toy_run: Path, tmp_path: Path) -> None:
    words = ["--dataset", str(toy_run), "--output", str(tmp_path / "q")]
    for write in range(10):
        if dies_at_write(partial(quality.main, words), write):
            break
    else:
        pytest.fail("it does not end")
    assert write > 2
    assert quality.main(words) == 0
    assert (tmp_path / "q/quality.json").exists()


def test_what_does_not_fit_is_named(toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--similarity", "1.5"], "--similarity = 1.5 is out of range"),
        (["--reference", str(tmp_path)], "holds no pictures"),
    ):
        assert quality.main(["--dataset", str(toy_run), "--output", str(tmp_path / "q"), *words]) == 2
        assert message in capsys.readouterr().err
    words = ["--dataset", str(toy_run), "--format", "huggingface", "--to", str(tmp_path / "hf")]
    assert export.main([*words, "--drop-repeats", "0"]) == 2
    assert "--drop-repeats 0.0: needs a cosine" in capsys.readouterr().err
