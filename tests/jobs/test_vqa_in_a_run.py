"""A run whose images a vision-language model judges: rows, reasons, pages, and answers that are kept with the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.errors import ServiceError
from pipelines.cluster.progress import Tracker
from pipelines.config.fingerprint import fingerprint
from pipelines.config.load import load
from pipelines.config.scorers import Scoring, checked
from pipelines.dataset.finished import open_finished
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import rescore
from pipelines.flows.rescore import RescoreConfig
from tests.support.job import PLAIN, make_inline, run_inline, write_job
from tests.support.language_model import KEY
from tests.support.vision_model import Vision

STOCK = "arms=[{name='stock'}]"


def asking(vision: Vision, **more: Any) -> str:
    endpoint = "".join(
        f", {name} = {value!r}" for name, value in {"key_variable": "VLM_KEY", "tries": 2, **more}.items()
    )
    return (
        f"scorers=[{{name='vqa', kind='vqa', model='m', options={{endpoint={{base_url='{vision.url}'{endpoint}}}}}}}]"
    )


def kept_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "data").to_pylist()
    return rows


def test_a_run_is_judged_by_a_vision_language_model(
    tmp_path: Path, vision: Vision, tiny_pipeline: str, tiny_clip: str
) -> None:
    lines = [PLAIN[0], {"prompt": "a star on night", "counterfactual": "a sun on night"}]
    write_job(tmp_path, tiny_pipeline, tiny_clip, lines)
    out = tmp_path / "out"
    assert run_inline(tmp_path, STOCK, asking(vision)).images_rejected == 0
    asked, scored = vision.asked.total(), kept_rows(out)
    assert asked == 3 * (1 + 4)
    for row in scored:
        answers = [one["yes"] for one in row["vqa_answers"]]
        assert row["vqa_clip_score"] == answers[0]
        about_prompt = answers[:3] if row["counterfactual"] else answers
        assert row["vqa_min"] == min(about_prompt)
        assert row["vqa_mean"] == pytest.approx(sum(about_prompt) / len(about_prompt))
        assert row["vqa_clip_margin"] == (pytest.approx(answers[0] - answers[3]) if row["counterfactual"] else None)
    assert "Does this image show" in (out / "gallery.html").read_text()
    card = (out / "README.md").read_text()
    assert "| `vqa_answers` | `list<struct>` | the questions about the image and the probabilities of yes; by" in card
    assert not any(KEY.encode() in file.read_bytes() for file in out.rglob("*") if file.is_file())

    shutil.rmtree(out / "data")
    elsewhere = asking(vision, concurrency=2)  # where and how it is asked is no part of what the run is
    assert run_inline(tmp_path, STOCK, elsewhere).complete
    assert vision.asked.total() == asked
    assert kept_rows(out) == scored

    limit = sorted(row["vqa_min"] for row in scored)[2]
    shutil.rmtree(out)
    accepted = f"selection.accept='vqa_min >= {limit!r}'"
    assert run_inline(tmp_path, STOCK, asking(vision), accepted).images_rejected == 2


def test_a_finished_run_is_asked_about_only_what_is_new(
    tmp_path: Path, vision: Vision, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    assert run_inline(tmp_path, STOCK, asking(vision)).complete
    asked, finished = vision.asked.total(), open_finished(Storage.open(tmp_path / "out"))

    def rescored(name: str, **options: Any) -> list[dict[str, Any]]:
        endpoint = {"base_url": vision.url, "key_variable": "VLM_KEY", **options.pop("endpoint", {})}
        scoring = Scoring(kind="vqa", model="m", options={"endpoint": endpoint, **options})
        config = RescoreConfig(scoring=checked(scoring))
        rescore.claim(finished, name, config)
        pending = rescore.pending_shards(finished, name)
        make_inline(pending, rescore.stages(finished, name, config, Tracker([*rescore.STAGES])))
        return kept_rows(tmp_path / "out" / "scores" / name)

    scored = kept_rows(tmp_path / "out")
    again = rescored("again")
    assert [row["again_answers"] for row in again] == [row["vqa_answers"] for row in scored]
    assert vision.asked.total() == asked
    assert rescored("again", endpoint={"concurrency": 2}) == again  # the same scores, asked elsewhere
    other = rescored("other", question="Is it {prompt}?")
    assert vision.asked.total() == asked + len(scored)
    assert other[0]["other_answers"][0]["question"] == f"Is it {scored[0]['prompt']}?"
    with pytest.raises(UserError, match="were made otherwise"):
        rescored("again", parts=False)


def test_where_it_is_asked_is_no_part_of_a_run_s_fingerprint_and_what_is(
    tmp_path: Path, vision: Vision, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip)
    toml = tmp_path / "run.toml"
    one = fingerprint(load(toml, [asking(vision)]))
    assert one == fingerprint(load(toml, [asking(vision).replace("127.0.0.1", "localhost")]))
    assert one != fingerprint(load(toml, [asking(vision).replace("'m'", "'n'")]))
    assert one != fingerprint(load(toml, [asking(vision).replace("options={", "options={parts=false, ")]))


def test_a_question_without_an_answer_is_a_failed_group_and_a_wrong_key_ends_the_run(
    tmp_path: Path, vision: Vision, tiny_pipeline: str, tiny_clip: str
) -> None:
    write_job(tmp_path, tiny_pipeline, tiny_clip, PLAIN[:2])
    question = 'Does this image show "a star"? Please answer yes or no.'
    vision.faults = {question: ["maybe"] * 2 * 9}
    assert run_inline(tmp_path, STOCK, asking(vision)).groups_failed == 1
    (failed,) = pq.read_table(tmp_path / "out" / "failed").to_pylist()
    assert (failed["prompt"], failed["stage"]) == ("a star", "score")
    assert "neither yes nor no: 'maybe'" in failed["error"]
    vision.faults = {}
    assert run_inline(tmp_path, STOCK, asking(vision), retry_failed=True).complete
    shutil.rmtree(tmp_path / "out")
    vision.faults = {question: [401] * 9}
    with pytest.raises(ServiceError, match="the key is wrong or missing") as raised:
        run_inline(tmp_path, STOCK, asking(vision))
    assert KEY not in str(raised.value)
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["config"]["scorers"][0]["kind"] == "vqa"
