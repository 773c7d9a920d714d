"""A text that is longer than the model or a scorer reads is said in its rows, the report, the page and the scores."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.scorers.clip import SAME_TOKENS
from pipelines.cluster.progress import Tracker
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.flows import rescore
from pipelines.flows.rescore import RescoreConfig
from tests.support.job import make_inline, run_inline, write_job
from tests.support.toys import pipelines as toys

LONG = "x " * 90
"""93 tokens of CLIP with its marks, of which the scorer reads 77; the toy model's CLIP reads 16 letters."""
PROMPTS = [
    {"prompt": "a red star", "counterfactual": "a sun"},
    {"prompt": f"{LONG}star", "counterfactual": f"{LONG}sun"},
]
SETTINGS = ("arms=[{name='stock'}]", "group.size=2", "sampling.max_sequence_length=512", "sampling.steps=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_clip: str) -> Path:
    folder = tmp_path_factory.mktemp("cut")
    write_job(folder, toys.save("sd3", tmp_path_factory.mktemp("sd3")), tiny_clip, PROMPTS)
    further = f"scorers=[{{name='again', model='{tiny_clip}'}}]"
    assert run_inline(folder, *SETTINGS, further).complete
    return folder / "out"


def test_rows_say_how_many_tokens_were_cut(run: Path) -> None:
    short, _, long, _ = pq.read_table(run / "data").to_pylist()
    assert short["tokens_cut"] == {"text_encoder": 0, "text_encoder_2": 0, "text_encoder_3": 0}
    assert long["tokens_cut"] == {"text_encoder": 94 + 2 - 16, "text_encoder_2": 94 + 2 - 16, "text_encoder_3": 0}
    assert long["negative_tokens_cut"] == {"text_encoder": 0, "text_encoder_2": 0, "text_encoder_3": 0}
    for scorer in ("", "again_"):
        assert short[f"{scorer}clip_tokens_cut"] == {"prompt": 0, "counterfactual": 0}
        assert long[f"{scorer}clip_tokens_cut"] == {"prompt": 16, "counterfactual": 16}
        assert short[f"{scorer}clip_margin"] is not None
        assert short[f"{scorer}clip_margin_missing"] is long[f"{scorer}clip_margin"] is None
        assert long[f"{scorer}clip_margin_missing"] == SAME_TOKENS


def test_the_report_has_shares_and_one_warning(run: Path) -> None:
    report = json.loads((run / "report.json").read_bytes())
    (arm,) = report["by_arm"]
    assert {name for name, share in arm["cut"].items() if share} == {
        "tokens_cut.text_encoder",
        "tokens_cut.text_encoder_2",
        "clip_tokens_cut.prompt",
        "clip_tokens_cut.counterfactual",
        "again_clip_tokens_cut.prompt",
        "again_clip_tokens_cut.counterfactual",
    }
    assert {*arm["cut"].values()} == {0.0, 0.5}
    (warning,) = report["warnings"]
    assert "tokens_cut.text_encoder 50.0%" in warning
    assert warning in (run / "README.md").read_text()


def test_the_page_says_it_in_words(run: Path) -> None:
    page = (run / "gallery.html").read_text()
    assert '"tokens_cut": "text_encoder 80, text_encoder_2 80"' in page
    assert '"clip_tokens_cut": "prompt 16, counterfactual 16"' in page
    assert '"again_clip_tokens_cut": "prompt 16, counterfactual 16"' in page
    assert SAME_TOKENS in page


def test_scores_that_are_added_say_it_too(run: Path, tiny_clip: str) -> None:
    finished = open_finished(Storage.open(run))
    config = RescoreConfig(scoring=checked(Scoring(model=tiny_clip)))
    rescore.claim(finished, "later", config)
    pending = rescore.pending_shards(finished, "later")
    made = make_inline(pending, rescore.stages(finished, "later", config, Tracker([*rescore.STAGES])))
    assert [row["cut"] for row in made] == [2]
    scores = pq.read_table(run / "scores" / "later" / "data")
    assert scores["later_clip_tokens_cut"].to_pylist()[2:] == [{"prompt": 16, "counterfactual": 16}] * 2
