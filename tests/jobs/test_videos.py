"""Runs of videos, in both kinds of files: from the prompt file to rows, scores over frames, replay and other scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import replay, score
from models.scorers.clip import ClipScorer
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset import images, schema, videos
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.flows import rescore
from pipelines.flows.rescore import RescoreConfig
from tests.support.exports import export
from tests.support.job import make_inline, run_inline, write_job
from tests.support.toys import pipelines as toys

KINDS = ("webp", "mp4")
FRAMES, SCORED = 9, 3
FPS = {"webp": 8, "mp4": 24}
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind of files -> output folder of a run with kept and rejected videos, scored by two scorers, to be looked at."""
    folder = tmp_path_factory.mktemp("videos")
    toy, second = toys.save("cogvideox", folder), f"scorers=[{{name='second', model='{tiny_clip}'}}]"
    settings = (f"sampling.frames={FRAMES}", f"scoring.frames={SCORED}", "selection.keep_per_group=2", second)
    for kind in KINDS:
        (folder / kind).mkdir()
        write_job(folder / kind, toy, tiny_clip, [{"prompt": "a red square", "counterfactual": "a star"}])
        mp4 = ["output.video_format=mp4", f"output.fps={FPS['mp4']}"] if kind == "mp4" else []
        assert run_inline(folder / kind, *settings, *mp4).complete
    return {kind: folder / kind / "out" for kind in KINDS}


@pytest.fixture(params=KINDS)
def finished(request: Any, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def kind_of(finished: Path) -> str:
    return finished.parent.name


def rows_of(finished: Path) -> list[dict[str, Any]]:
    return [row for folder in ("data", "rejected") for row in pq.read_table(finished / folder).to_pylist()]


def test_rows_hold_whole_videos_and_ids_of_what_was_drawn(runs: dict[str, Path]) -> None:
    lossless, lossy = ({(row["seed"], row["arm"]): row for row in rows_of(runs[kind])} for kind in KINDS)
    assert lossless.keys() == lossy.keys()
    assert len(lossless) == 6
    for key, row in lossless.items():
        pixels = videos.decode(row["image"]["bytes"], FRAMES, range(FRAMES))
        assert row["image_id"] == lossy[key]["image_id"] == images.image_id(pixels)
        assert lossy[key]["image"]["bytes"] == videos.encode(pixels, "mp4", FPS["mp4"])
        for kind, of_kind in (("webp", row), ("mp4", lossy[key])):
            assert (of_kind["frames"], of_kind["fps"]) == (FRAMES, FPS[kind])
            assert of_kind["image"]["path"].endswith(f".{kind}")


def test_scores_are_means_over_frames_and_consistency_is_of_neighbours(finished: Path, tiny_clip: str) -> None:
    clip = ClipScorer(tiny_clip)
    for row in rows_of(finished):
        frames = videos.decode(row["image"]["bytes"], FRAMES, [1, 4, 7])
        vectors_FD, texts_ND = clip.embed_images(frames), clip.embed_texts([row["prompt"], "a star"])
        cosines_FN = vectors_FD @ texts_ND.T
        assert row["clip_score"] == pytest.approx(cosines_FN[:, 0].mean(), abs=1e-5)
        if row["counterfactual"]:
            assert row["clip_margin"] == pytest.approx((cosines_FN[:, 0] - cosines_FN[:, 1]).mean(), abs=1e-5)
        neighbours = (vectors_FD[0] @ vectors_FD[1] + vectors_FD[1] @ vectors_FD[2]) / 2
        assert row["temporal_consistency"] == pytest.approx(neighbours, abs=1e-5)
        assert row["second_temporal_consistency"] == row["temporal_consistency"]
        mean_D = vectors_FD.mean(axis=0)
        assert row["embedding"] == pytest.approx(mean_D / np.linalg.norm(mean_D), abs=1e-2)


def test_only_runs_of_videos_have_the_columns_of_videos(finished: Path, undisturbed: Path) -> None:
    more = {"fps", "temporal_consistency", "second_temporal_consistency"}
    pictures, ours = (pq.read_schema(next((out / "data").iterdir())) for out in (undisturbed, finished))
    assert more <= {*ours.names}
    assert not more & {*pictures.names}
    kind = "Video" if kind_of(finished) == "mp4" else "Image"
    assert json.loads((ours.metadata or {})[b"huggingface"])["info"]["features"]["image"] == {"_type": kind}
    assert schema.version_of(ours) == schema.version_of(pictures)


def test_rows_of_videos_are_made_again_from_themselves(finished: Path, capsys: Out) -> None:
    assert replay.main(["--dataset", str(finished), "--device", "cpu", "--sample", "0"]) == 0
    assert capsys.readouterr().out == "6 images made again, 6 identical, 0 not\n"


@pytest.mark.parametrize("column", ["image", "image_id"])
def test_a_video_that_is_not_its_row_s_is_found_out(column: str, finished: Path, tmp_path: Path, capsys: Out) -> None:
    forged = Path(shutil.copytree(finished, tmp_path / "forged"))
    path = next((forged / "data").iterdir())
    table = pq.read_table(path)
    at, values = table.schema.get_field_index(column), table[column].to_pylist()
    swapped = pa.array([values[1], values[0], *values[2:]], table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), swapped), path)
    status = replay.main(["--dataset", str(forged), "--device", "cpu", "--sample", "0"])
    assert status == (1 if kind_of(finished) == "mp4" else 2)  # only a lossless file has its own id in it
    assert "differs" in (said := capsys.readouterr().err) or "not those it was stored with" in said


def test_videos_are_scored_again(finished: Path, tiny_clip: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(finished, tmp_path / "own"))
    run = open_finished(Storage.open(own))
    config = RescoreConfig(scoring=checked(Scoring(model=tiny_clip, frames=SCORED)))
    rescore.claim(run, "again", config)
    make_inline(
        rescore.pending_shards(run, "again"),
        rescore.stages(run, "again", config, Tracker([*rescore.STAGES])),
    )
    before, after = (pq.read_table(own / folder) for folder in ("data", "scores/again/data"))
    for name in ("clip_score", "temporal_consistency", "nearest_similarity"):
        assert np.allclose(after[f"again_{name}"].to_numpy(), before[name].to_numpy(), atol=1e-6), name


def test_to_score_mp4s_needs_the_package(
    runs: dict[str, Path], tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    own = Path(shutil.copytree(runs["mp4"], tmp_path / "own"))
    monkeypatch.setattr("pipelines.dataset.mp4.find_spec", lambda _: None)
    assert score.main(["--dataset", str(own), "--scorer", f"other={tiny_clip}"]) == 2
    assert "which has MP4s, needs the package av, which is not installed: pip install av" in capsys.readouterr().err
    assert not (own / "scores").exists()


def test_the_report_the_gallery_and_exports_have_every_video(finished: Path, tmp_path: Path) -> None:
    rows = rows_of(finished)
    of_stock = [row["temporal_consistency"] for row in rows if row["arm"] == "stock"]
    (stock, _) = json.loads((finished / "report.json").read_bytes())["by_arm"]
    assert stock["further"]["temporal_consistency"]["mean"] == pytest.approx(np.mean(of_stock), abs=1e-5)
    card = (finished / "README.md").read_text()
    assert "| temporal_consistency |" in card.replace("second_", "")
    assert (finished / "gallery.html").read_text().count(" data-moving=") == len(rows)
    to = tmp_path / "to"
    assert export(finished, to, "huggingface", "--rejected") == 0
    exported = [row for folder in ("data", "rejected") for row in pq.read_table(to / folder).to_pylist()]
    pixels = {row["image_id"]: whole(row) for row in rows}
    assert len(exported) == len(rows)
    for row in exported:
        assert np.array_equal(whole(row), pixels[row["image_id"]])


def whole(row: dict[str, Any]) -> Any:
    return videos.decode(row["image"]["bytes"], FRAMES, range(FRAMES))


@pytest.mark.parametrize("setting", ["output.video_format=mp4", "output.fps=8"])
def test_a_run_of_pictures_has_no_settings_of_videos(
    setting: str, tmp_path: Path, tiny_pipeline: str, tiny_clip: str, capsys: Out
) -> None:
    synth = write_job(tmp_path, tiny_pipeline, tiny_clip)
    assert synth(setting, flags=["--dry-run"]) == 2
    assert "needs sampling.frames above 1" in capsys.readouterr().err
