"""Runs whose prompts edit pictures, from the prompt file to the rows, and what is made of them when the user's files
are gone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.replay import main as replay
from models.errors import ModelError
from models.info import ModelInfo
from models.pictures import decoded
from models.scorers.base import ScorerSpec
from models.scorers.registry import open_scorer
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring
from pipelines.dataset.finished import open_finished
from pipelines.dataset.scored_rows import numbers_of, shards
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore
from pipelines.flows.rescore import RescoreConfig
from pipelines.stages.generate import _check_pictures
from tests.conftest import Configure
from tests.support.family import picture
from tests.support.job import make_inline, run_inline, write_job
from tests.support.toys.pipelines import save

LINES = [
    {"prompt": "make it red", "picture": "light.png", "after": "a red star"},
    {"prompt": "make it red", "picture": "dark.png", "counterfactual": "a sun"},
    {"prompt": "make it blue", "picture": "dark.png"},
    {"prompt": "a dot"},
    {"prompt": "make it red", "picture": "gone.png"},
]
SETTINGS = (
    "prompts.columns.source_image=picture",
    "prompts.columns.target_caption=after",
    "group.size=2",
    "sampling.guidance_scale=2.0",
)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, tiny_clip: str) -> Path:
    """A finished run of a toy of FLUX Kontext, without the user's pictures."""
    folder = tmp_path_factory.mktemp("edits")
    for name in ("light", "dark"):
        (folder / f"{name}.png").write_bytes(picture(dark=name == "dark"))
    write_job(folder, save("flux-kontext", tmp_path_factory.mktemp("kontext")), tiny_clip, LINES)
    summary = run_inline(folder, *SETTINGS)
    assert (summary.complete, summary.images_kept, summary.groups_failed, summary.prompts_failed) == (True, 12, 2, 1)
    for path in folder.glob("*.png"):
        path.unlink()
    return folder


def query(folder: Path, sql: str) -> list[Any]:
    return duckdb.connect().execute(sql.replace("DATA", f"'{folder}/out/data/*.parquet'")).fetchall()


def test_every_image_names_the_picture_that_it_edits(edited: Path) -> None:
    sources = Sources(Storage.open(edited / "out"))
    of = {row[0]: sources.read(row[1]) for row in query(edited, "select prompt_id, source_images from DATA")}
    assert {data for files in of.values() for data in files.values()} == {picture(), picture(dark=True)}
    failed = query(edited, f"select prompt, error from '{edited}/out/failed/shard-*.parquet'")
    assert {row[0] for row in failed} == {"a dot"}
    assert "edits pictures: each prompt needs 1" in failed[0][1]


def test_an_image_is_scored_against_the_caption_of_what_it_is_to_show_and_compared_with_its_picture(
    edited: Path, tiny_clip: str
) -> None:
    scorer = open_scorer(ScorerSpec(model=tiny_clip), "cpu")
    sources = Sources(Storage.open(edited / "out"))
    rows = pq.read_table(edited / "out/data").to_pylist()
    assert {row["target_caption"] for row in rows} == {"a red star", None}
    for row in rows:
        image = decoded(row["image"]["bytes"])
        text = scorer.embed_texts([row["target_caption"] or row["prompt"]])[0]  # type: ignore[attr-defined]
        (source,) = sources.read(row["source_images"]).values()
        mine, its = scorer.embed_images([np.asarray(image), np.asarray(decoded(source))])  # type: ignore[attr-defined]
        assert row["clip_score"] == pytest.approx(float(mine @ text), abs=1e-5)
        assert row["source_similarity"] == pytest.approx(float(mine @ its), abs=1e-5)


def test_rows_are_made_again_without_the_users_pictures(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(["--dataset", str(edited / "out"), "--device", "cpu", "--sample", "0"]) == 0
    assert capsys.readouterr().out == "12 images made again, 12 identical, 0 not\n"


def test_shards_that_are_lost_are_made_again_without_them_too(edited: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(edited, tmp_path / "copy"))
    (lost, *_) = sorted((copy / "out/data").iterdir())
    before = lost.read_bytes()
    lost.unlink()
    assert run_inline(copy, *SETTINGS, f"prompts.path={edited}/prompts.jsonl", f"run.output={copy}/out").complete
    assert lost.read_bytes() == before
    (kept,) = (copy / "out/sources").iterdir()
    kept.unlink()
    with pytest.raises(Exception, match="is not there, though run"):
        run_inline(copy, *SETTINGS, f"run.output={copy}/out")


def test_further_scorers_compare_with_the_picture_too_in_the_run_and_afterwards(
    edited: Path, tmp_path: Path, tiny_clip: str
) -> None:
    copy = Path(shutil.copytree(edited, tmp_path / "copy"))
    run = open_finished(Storage.open(copy / "out"))
    config = RescoreConfig(scoring=Scoring(model=tiny_clip))
    rescore.claim(run, "again", config)
    make_inline(rescore.pending_shards(run, "again"), rescore.stages(run, "again", config, Tracker()))
    (path, *_) = sorted((copy / "out/scores/again/data").iterdir())
    scored, rows = pq.read_table(path), pq.read_table(copy / "out/data" / path.name)
    assert scored["again_source_similarity"].to_pylist() == rows["source_similarity"].to_pylist()
    assert scored["again_clip_score"].to_pylist() == rows["clip_score"].to_pylist()


def test_who_judges_the_rows_of_a_run_knows_what_edits_are_to_show(edited: Path) -> None:
    rows = pa.concat_tables(shards(open_finished(Storage.open(edited / "out")), []))
    assert {*rows["target_caption"].to_pylist()} == {"a red star", None}
    assert {"source_similarity", "clip_score"} < {field.name for field in numbers_of(rows.schema)}


def test_an_image_may_be_dropped_for_what_it_has_left_of_its_picture(edited: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(edited, tmp_path / "copy", ignore=shutil.ignore_patterns("out")))
    for name in ("light", "dark"):
        (tmp_path / f"{name}.png").write_bytes(picture(dark=name == "dark"))
    similar = sorted(row[0] for row in query(edited, "select source_similarity from DATA"))
    rule = f"selection.accept='source_similarity < {similar[6]:.9f}'"
    further = "scorers=[{name='b', model='TINY'}]".replace("TINY", _clip(edited))
    folders = (f"prompts.picture_folders={tmp_path}", f"run.output={copy}/out")
    summary = run_inline(copy, *SETTINGS, *folders, rule, further)
    assert (summary.images_kept, summary.images_rejected) == (6, 6)
    assert query(copy, "select count(*) from DATA where b_source_similarity = source_similarity") == [(6,)]


def test_the_gallery_shows_what_each_prompt_edits_and_what_it_is_to_show(edited: Path) -> None:
    page = (edited / "out/gallery.html").read_text()
    cards = page.split("<article")[1:]
    shown = {card.count('alt="picture 1 to edit"') for card in cards if "a dot" not in card}
    assert (len(cards), shown) == (4, {1})
    assert (
        len({card.split('alt="picture 1 to edit"')[0].rsplit("src=", 1)[1] for card in cards if "a dot" not in card})
        == 2
    )
    assert sum("to show: a red star" in card for card in cards) == 1
    details = json.loads(page.split('id="details">')[1].split("</script>")[0])
    assert all(group["edited"]["source_images"] and not group["carried"] for group in details["groups"])
    assert all(
        "source_images" not in shot["further"] and shot["further"]["source_similarity"] for shot in details["shots"]
    )


def test_report_and_card_say_how_much_is_left_of_the_pictures_and_where_they_are(edited: Path) -> None:
    report = json.loads((edited / "out/report.json").read_bytes())
    rows = query(edited, "select arm, avg(source_similarity) from DATA group by arm")
    means = {arm["arm"]: arm["further"]["source_similarity"]["mean"] for arm in report["by_arm"]}
    assert means == pytest.approx(dict(rows), abs=1e-5)
    card = (edited / "out/README.md").read_text()
    assert "`sources/*.parquet` | the pictures that the prompts edit" in card
    manifest = json.loads((edited / "out/manifest.json").read_bytes())
    assert [(file["path"], file["rows"]) for file in manifest["files"] if file["path"].startswith("sources/")] == [
        ("sources/sources-000000-0000.parquet", 2)
    ]


def test_a_model_and_a_run_that_do_not_fit_are_one_error(edited: Path, configure: Configure) -> None:
    info = ModelInfo(model="m", revision="", family="f", dtype="", scheduler="", device="cpu", frames_per_second=0)
    plain = configure()
    pictured = configure(prompts={"path": plain.prompts.path, "columns": {"source_image": "picture"}})
    for takes, refused in {(0, 0): pictured, (1, 3): plain}.items():
        with pytest.raises(ModelError, match=r"prompts\.columns\.source_image"):
            _check_pictures(refused, replace(info, pictures=takes))
    for takes, good in {(0, 0): plain, (1, 3): pictured}.items():
        _check_pictures(good, replace(info, pictures=takes))
    _check_pictures(plain, replace(info, pictures=(0, 1)))
    _check_pictures(pictured, replace(info, pictures=(0, 1)))
    with pytest.raises(ModelError, match="flux-kontext edits pictures, at least 1 for each prompt"):
        run_inline(edited, f"run.output={edited}/none")


def test_carried_columns_have_other_names_than_those_of_exports(edited: Path) -> None:
    carried = "prompts.carry={source_image = 'after'}"
    with pytest.raises(UserError, match="rows have a column of the name 'source_image'"):
        run_inline(edited, *SETTINGS, carried)


def _clip(folder: Path) -> str:
    return str(json.loads((folder / "out/run.json").read_bytes())["config"]["scoring"]["model"])
