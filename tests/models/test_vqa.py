"""Yes/no questions about pictures: what is asked, how answers are read, and models that answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.chat import NoAnswer
from models.errors import ModelError, ServiceError
from models.scorers import registry
from models.scorers.base import ImageGroup, ScorerSpec
from models.scorers.questions import QUESTION, about, parts_of
from models.scorers.vqa_endpoint import yes_in
from tests.support import tiny
from tests.support.language_model import KEY, said
from tests.support.vision_model import Vision, bright


def spec_of(vision: Vision, **options: Any) -> ScorerSpec:
    endpoint = {"base_url": vision.url, "key_variable": "VLM_KEY", "tries": 2, "concurrency": 3}
    return ScorerSpec(kind="vqa", model="m", options={"endpoint": endpoint, **options})


def group_of(prompt: str, counterfactual: str | None = None, *, size: int = 3) -> ImageGroup:
    pixels = (
        np.random.default_rng(0).integers(0, 256, (size, 8, 8, 3)).astype(np.uint8)
        // (np.arange(size) + 1)[:, None, None, None]
    )
    return ImageGroup(pixels_BHWC=pixels.astype(np.uint8), prompt=prompt, counterfactual=counterfactual)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a purple star on night", ["a purple star", "night"]),
        ("a hairy frog, wearing a hat, and a cat", ["a hairy frog", "a hat", "a cat"]),
        ("A dog With a ball next to the house.", ["A dog", "a ball", "the house"]),
        ("a tin can", []),
        ("version 3.5 of an android", []),
        ("a cat and a cat", []),
    ],
)
def test_a_prompt_is_cut_into_what_it_names(prompt: str, parts: list[str]) -> None:
    assert parts_of(prompt) == parts


def top(**chances: float) -> dict[str, Any]:
    alternatives = [{"token": token, "logprob": math.log(chance)} for token, chance in chances.items()]
    return {"logprobs": {"content": [{"token": "\n"}, {"token": "x", "top_logprobs": alternatives}]}}


@pytest.mark.parametrize(
    ("choice", "yes"),
    [
        (said("Yes, it does."), 1.0),
        (said("no"), 0.0),
        (said("**No**"), 0.0),
        (said("It") | top(Yes=0.3, no=0.1, It=0.6), 0.75),
        (said("Yes") | top(It=0.9), 1.0),
        (said("Yes") | {"logprobs": None}, 1.0),
    ],
)
def test_an_answer_is_a_probability_where_there_are_some(choice: Mapping[str, Any], yes: float) -> None:
    assert yes_in(choice) == pytest.approx(yes)


def test_what_is_neither_yes_nor_no_is_no_answer() -> None:
    for text in ("maybe", "", None, "yesterday"):
        with pytest.raises(NoAnswer):
            yes_in(said(text))  # type: ignore[arg-type]


def test_the_whole_its_parts_and_the_counterfactual_are_asked_about(vision: Vision) -> None:
    group = group_of("a purple star on night", "a red star on night")
    (scores,) = registry.open_scorer(spec_of(vision), "cpu").score([group])
    texts = ["a purple star on night", "a purple star", "night", "a red star on night"]
    expected = np.array(
        [[bright(image_HWC, about(text, QUESTION)) for text in texts] for image_HWC in group.pixels_BHWC]
    )
    assert scores.answers is not None
    assert scores.margin_B is not None
    assert [*scores.answers[0]] == [about(text, QUESTION) for text in texts]
    np.testing.assert_allclose(scores.score_B, expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(scores.columns["mean"], expected[:, :3].mean(1), atol=1e-6)
    np.testing.assert_allclose(scores.columns["min"], expected[:, :3].min(1), atol=1e-6)
    np.testing.assert_allclose(scores.margin_B, expected[:, 0] - expected[:, 3], atol=1e-6)
    assert vision.asked.total() == 12
    assert 1 < vision.most_at_once <= 3
    assert vision.keys == {f"Bearer {KEY}"}


def test_parts_can_be_left_out_and_questions_be_ones_own(vision: Vision) -> None:
    spec = spec_of(vision, parts=False, question="Is it {prompt}?", logprobs=False)
    (scores,) = registry.open_scorer(spec, "cpu").score([group_of("a star on night", size=1)])
    assert scores.answers == [{"Is it a star on night?": 0.0}]
    assert scores.margin_B is None
    assert scores.columns["mean"] == scores.columns["min"] == scores.score_B


class Memory(dict[str, dict[str, float]]):
    def find(self, key: Mapping[str, str]) -> dict[str, float]:
        return dict(self.get(str(key), {}))

    def keep(self, key: Mapping[str, str], answers: Mapping[str, float]) -> None:
        self[str(key)] = dict(answers)


def test_no_question_about_a_picture_is_asked_twice(vision: Vision) -> None:
    scorer: Any = registry.open_scorer(spec_of(vision), "cpu")
    scorer.keep_in(memory := Memory())
    first = scorer.score([group_of("a star on night")])
    again = scorer.score([group_of("a star on night"), group_of("a star on fire")])
    assert (first[0].score_B == again[0].score_B).all()
    assert vision.asked.total() == 3 * (3 + 2)
    assert len(memory) == 3
    assert KEY not in str(memory)


def test_an_answer_is_not_taken_from_other_weights_or_from_words_where_probabilities_are_asked_for(
    vision: Vision,
) -> None:
    """One question in the memory of a run, about one picture."""
    memory, spec = Memory(), spec_of(vision, parts=False)
    found = []
    for asker in (spec, spec_of(vision, parts=False, logprobs=False), replace(spec, revision="next"), spec):
        scorer: Any = registry.open_scorer(asker, "cpu")
        scorer.keep_in(memory)
        found.append(scorer.score([group_of("a star", size=1)])[0].score_B.item())
    assert vision.asked.total() == len(memory) == 3
    assert found[1] in (0.0, 1.0)
    assert found[0] not in (0.0, 1.0)
    assert found[3] == found[0]


def test_a_question_without_an_answer_costs_its_groups_and_a_wrong_key_the_job(vision: Vision) -> None:
    scorer = registry.open_scorer(spec_of(vision), "cpu")
    question = about("a star", QUESTION)
    vision.faults = {question: ["maybe", 429]}
    with pytest.raises(ModelError, match=r"has no answer after 2 tries: HTTP 429: .*\*\*\*") as raised:
        scorer.score([group_of("a star", size=1)])
    assert not isinstance(raised.value, ServiceError)
    vision.faults = {question: [500, "Yes"]}
    assert scorer.score([group_of("a star", size=1)])[0].score_B == 1.0
    vision.faults = {question: [401]}
    with pytest.raises(ServiceError, match=r"the key is wrong or missing.*VLM_KEY"):
        scorer.score([group_of("a star", size=1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": "Is it?"}, "options.'Is it?' needs {prompt}"),
        ({"parts": 1}, "options.parts = 1: needs true or false"),
        ({"endpoint": "http://x"}, "options.endpoint = 'http://x': needs a table"),
        ({"endpoint": {}}, "options.endpoint: needs base_url"),
        ({"endpoint": {"url": "http://x"}}, "endpoint has the unknown key 'url'; did you mean 'base_url'?"),
        ({"endpoint": {"base_url": "http://x", "tries": "2"}}, "endpoint.tries = '2'"),
        ({"endpoint": {"base_url": "ftp://x"}}, "options.endpoint.base_url = 'x' is out of range"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    entry = registry.entry_of("vqa")
    with pytest.raises(ModelError) as raised:
        entry.check(ScorerSpec(kind="vqa", model="m", options=options))
    assert message in str(raised.value)


def test_a_model_of_transformers_answers_in_this_process(tmp_path: Path) -> None:
    folder = tiny.save_vision_language_model(tmp_path)
    spec = ScorerSpec(kind="vqa", model=folder)
    assert len(registry.entry_of("vqa").revision(spec)) > 8
    scorer = registry.open_scorer(spec, "cpu")
    group = group_of("a star on night", "a sun on night")
    (scores,) = scorer.score([group])
    (alone,) = scorer.score([ImageGroup(pixels_BHWC=group.pixels_BHWC[1:2], prompt="night", counterfactual=None)])
    assert scores.answers is not None
    assert alone.answers is not None
    night = about("night", QUESTION)
    assert scores.answers[1][night] == pytest.approx(alone.answers[0][night], abs=1e-5)
    every = np.array([[*answers.values()] for answers in scores.answers])
    assert ((every > 0) & (every < 1)).all()
    assert every.std(axis=0).min() > 1e-4
    assert every.std(axis=1).min() > 1e-4
