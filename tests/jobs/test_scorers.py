"""Several scorers in one run, one of them a user's own: in the rows, the ranks, the pages, the exports."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import export, score
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset import images, schema
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore
from pipelines.flows.rescore import RescoreConfig
from tests.support import light, tiny
from tests.support.job import PLAIN, complete, make_inline, rows, run_inline, write_job

assert light.ENTRY  # imported for its registration
LIGHT = "scorers=[{name='light', kind='light', options={weight=2.0}}]"
STOCK = "arms=[{name='stock'}]"
FOLDERS = ("data", "rejected")


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: str, tiny_clip: str) -> Path:
    """Output folder of a run that is ranked by the user's scorer; to be looked at only."""
    folder = tmp_path_factory.mktemp("lit")
    write_job(folder, tiny_pipeline, tiny_clip, PLAIN[:4])
    settings = (LIGHT, STOCK, "selection.rank_by=light", "selection.keep_per_group=1")
    assert run_inline(folder, *settings).complete
    return folder / "out"


def all_rows(out: Path) -> list[dict[str, Any]]:
    return [row for folder in FOLDERS for row in pq.read_table(out / folder).to_pylist()]


def test_a_scorer_from_elsewhere_lands_in_rows_and_ranks(lit: Path) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in all_rows(lit):
        pixels_HWC = images.decode(row["image"]["bytes"]) / 255
        assert row["light_clip_model"] == "light"
        assert row["light_clip_score"] == pytest.approx(2 * pixels_HWC.mean(), abs=1e-5)
        assert row["light_contrast"] == pytest.approx(pixels_HWC.std(), abs=1e-5)
        assert row["light_group_vendi"] is row["light_nearest_similarity"] is row["light_clip_margin"] is None
        assert row["group_vendi"] > 1
        groups.setdefault(row["group_id"], []).append(row)
    assert len(groups) == 4
    for group in groups.values():
        by_light = sorted(group, key=lambda row: -row["light_clip_score"])
        assert [row["rank_in_group"] for row in by_light] == [row["light_rank_in_group"] for row in by_light]
        assert [row["rank_in_group"] for row in by_light] == [1, 2, 3]
        assert [row["keep"] for row in by_light] == [True, False, False]
    assert any(max(group, key=lambda row: row["clip_score"])["rank_in_group"] != 1 for group in groups.values())


def test_pages_and_reports_show_it(lit: Path) -> None:
    (arm,) = json.loads((lit / "report.json").read_bytes())["by_arm"]
    mean = arm["further"]["light_clip_score"]
    assert mean["mean"] == pytest.approx(np.mean([row["light_clip_score"] for row in all_rows(lit)]), abs=1e-5)
    assert mean["half_width"] > 0
    card = (lit / "README.md").read_text()
    assert "| pair_vendi | light_clip_score |" in card
    assert "| `light_contrast` | `float` | standard deviation of the pixels; by the scorer `light` |" in card
    assert "by the scorer `light`" in re.findall(r"`light_clip_score`.*", card)[0]
    (details,) = re.findall(r'"further": (\{.*?\})', (lit / "gallery.html").read_text())[:1]
    assert json.loads(details).keys() >= {"light_clip_score", "light_contrast"}


def test_exports_take_it_along(lit: Path, tmp_path: Path) -> None:
    words = ["--dataset", str(lit), "--format", "huggingface", "--to", str(tmp_path / "hf")]
    assert export.main(words) == 0
    loaded: Any = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["light_contrast"][:] == pq.read_table(lit / "data")["light_contrast"].to_pylist()
    assert "standard deviation of the pixels; by the scorer `light`" in (tmp_path / "hf" / "README.md").read_text()


def test_what_a_classifier_finds_is_recorded_and_dropped_where_that_is_asked_for(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:3])
    safe = tiny.save_classifier(tmp_path / "classifier")
    scorers = f"scorers=[{{name='safe', kind='classifier', model='{safe}', options={{labels=['Not Safe']}}}}]"
    assert run_inline(tmp_path, STOCK, scorers).images_rejected == 0
    out = tmp_path / "out"
    unfiltered = {row["image_id"]: row["safe_not_safe"] for row in pq.read_table(out / "data").to_pylist()}
    limit = float(np.median([*unfiltered.values()]))
    shutil.rmtree(out)
    assert run_inline(
        tmp_path, STOCK, scorers, f"selection.limits=[{{column='safe_not_safe', above={limit}}}]"
    ).complete
    for row in all_rows(out):
        assert row["safe_not_safe"] == row["safe_clip_score"] == unfiltered[row["image_id"]]
        assert row["drop_reason"] == ("safe_not_safe" if row["safe_not_safe"] > limit else None)
    (arm,) = json.loads((out / "report.json").read_bytes())["by_arm"]
    assert arm["drop_reasons"] == {"safe_not_safe": 4}
    card = (out / "README.md").read_text()
    assert "| `safe_not_safe` | `float` | probability of the label `Not Safe`; by the scorer `safe` |" in card
    assert "| `safe_clip_score` | `float` | probability of the first label" in card


def test_images_are_accepted_by_an_expression_over_columns_of_all_scorers(
    lit: Path, tmp_path: Path, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:4])
    scored = all_rows(lit)
    limit = float(np.median([row["light_contrast"] for row in scored]))
    accept = f"selection.accept='light_contrast >= {limit!r} and light_rank_in_group <= 2'"
    assert run_inline(tmp_path, LIGHT, STOCK, accept).complete
    reasons = {row["image_id"]: row["drop_reason"] for row in all_rows(tmp_path / "out")}
    for row in scored:
        dull = f"light_contrast >= {limit!r}" if row["light_contrast"] < limit else None
        low = "light_rank_in_group <= 2" if row["light_rank_in_group"] > 2 else None
        assert reasons[row["image_id"]] == (dull or low)
    assert len({*reasons.values()}) == 3


def test_a_group_that_a_further_scorer_cannot_score_fails_and_heals(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, [{"prompt": "a dot"}, {"prompt": "dark"}])
    assert run_inline(tmp_path, LIGHT, STOCK).groups_failed == 1
    out = tmp_path / "out"
    failed = rows(out / "failed", "prompt, stage, error_type, error, attempts")
    assert failed == [("dark", "score", "RuntimeError", "it is too dark", 2)]
    monkeypatch.setattr(light.LightScorer, "score", lambda self, groups: [self._score(g.pixels_BHWC) for g in groups])
    assert run_inline(tmp_path, LIGHT, STOCK, retry_failed=True).groups_failed == 0
    assert complete(out)
    table = pq.read_table(out / "data")
    assert table["prompt"].to_pylist() == ["a dot"] * 3 + ["dark"] * 3
    assert b"meaning" in (table.schema.field("light_contrast").metadata or {})


def test_two_open_clip_scorers_in_one_run(
    undisturbed: Path, tmp_path: Path, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN)
    run_inline(tmp_path, f"scorers=[{{name='b', model='{tiny_clip}', embeddings=true}}]")
    alone, both = pq.read_table(undisturbed / "data"), pq.read_table(tmp_path / "out" / "data")
    assert both.schema.names[: len(alone.schema)] == alone.schema.names
    for name in alone.schema.names:
        if name != "fingerprint":
            assert both[name].to_pylist() == alone[name].to_pylist(), name
    for name in ("clip_model", "clip_score", "rank_in_group", "group_vendi", "nearest_similarity", "embedding"):
        assert both[f"b_{name}"].to_pylist() == both[name].to_pylist(), name
    declared = json.loads((both.schema.metadata or {})[b"huggingface"])["info"]["features"]
    assert list(declared) == both.schema.names


def test_a_run_without_further_scorers_has_the_schema_it_always_had(undisturbed: Path) -> None:
    file = next((undisturbed / "data").iterdir())
    expected, found = schema.scored(16), pq.read_schema(file)
    assert found.equals(expected, check_metadata=False)
    assert found.metadata == expected.metadata


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["scoring.kind=light"], "scoring.kind = 'light' is out of range: needs a kind with image vectors"),
        (["scorers=[{name='a', kind='light', embeddings=true}]"], "scorers of the kind 'light' have none"),
        (["scorers=[{name='a', kind='light', options={weight=0}}]"], "scorers.a.options.weight = 0: needs another"),
        (["scorers=[{name='a', model='ViT-B-23'}]"], "scorers.a.model = 'ViT-B-23': open_clip has no such model"),
        (["scorers=[{name='a', kind='light'}]", "selection.rank_by=b"], "selection.rank_by = 'b'"),
    ],
)
def test_bad_scorers_are_named(
    tmp_path: Path, tiny_pipeline: str, tiny_clip: str, settings: list[str], message: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip)
    with pytest.raises(UserError, match=re.escape(message)):
        run_inline(tmp_path, *settings)


def test_a_finished_run_is_scored_by_it(
    undisturbed: Path, lit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(undisturbed, tmp_path / "own"))
    run = open_finished(Storage.open(own))
    config = RescoreConfig(scoring=checked(Scoring(kind="light", options={"weight": 2.0})))
    rescore.claim(run, "late", config)
    pending = rescore.pending_shards(run, "late")
    make_inline(pending, rescore.stages(run, "late", config, Tracker([*rescore.STAGES])))
    beside, there = pq.read_table(own / "scores" / "late" / "data"), pq.read_table(own / "data")
    assert beside["image_id"].to_pylist() == there["image_id"].to_pylist()
    assert beside["late_group_vendi"].null_count == beside.num_rows
    light_of_first = 2 * images.decode(there["image"][0].as_py()["bytes"]).mean() / 255
    assert beside["late_clip_score"][0].as_py() == pytest.approx(light_of_first, abs=1e-5)
    assert export.main(["--dataset", str(own), "--format", "huggingface", "--to", str(tmp_path / "hf")]) == 0
    assert "standard deviation of the pixels; by the scorer `late`" in (tmp_path / "hf" / "README.md").read_text()
    for words, message in (
        (["--scorer", "light", "--set", "scoring.kind=light"], "the run has the column light_clip_model already"),
        (["--scorer", "x", "--set", "scoring.kind=lihgt"], "did you mean 'light'?"),
        (["--scorer", "x", "--set", "scoring.kind=light", "--embeddings"], "give no image vectors"),
        (["--scorer", "x=a/b", "--set", "scoring.kind=classifier"], "options.labels = None: needs labels"),
    ):
        assert score.main(["--dataset", str(lit), *words]) == 2
        assert message in capsys.readouterr().err
