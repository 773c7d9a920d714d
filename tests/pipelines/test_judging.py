"""How well rules judge: thresholds, separations, what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.expressions import expression
from pipelines.errors import UserError
from pipelines.judging.labelled import Labelled
from pipelines.judging.labels import from_csv
from pipelines.judging.measure import gain, held_out, kept, numbers, separation, threshold
from pipelines.judging.report import judges_report


def judged(good: Any, **columns: Any) -> Labelled:
    """Images with these labels, four to a prompt and group, and these columns."""
    good_N = np.array(good, dtype=bool)
    prompt_N = np.arange(len(good_N)) // 4
    table = pa.table(
        {"group_id": [f"g{prompt}" for prompt in prompt_N]}
        | {name: pa.array([*values], pa.float32()) for name, values in columns.items()}
    )
    return Labelled(
        good_N=good_N,
        prompt_N=prompt_N,
        image_ids=[str(at) for at in range(len(good_N))],
        rarity_N=["rare" if prompt % 2 else "common" for prompt in prompt_N],
        _groups=table,
        _places_N=np.arange(len(good_N)),
    )


@pytest.fixture(scope="module")
def confounded() -> Labelled:
    """A score that is lower for every rare prompt, and a margin that is not; half the good images are of rare ones."""
    rng = np.random.default_rng(3)
    good_N = rng.random(320) < 0.5
    rare_N = (np.arange(320) // 4) % 2 == 1
    score_N = 0.3 - 0.1 * rare_N + 0.03 * good_N + 0.01 * rng.normal(size=320)
    margin_N = 0.03 * good_N + 0.01 * rng.normal(size=320)
    margins = [None if at % 16 < 4 else value for at, value in enumerate(margin_N)]
    return judged(good_N, clip_score=score_N, clip_margin=margins)


def test_a_threshold_is_the_lowest_with_the_wanted_precision() -> None:
    values_N, good_N = np.array([5.0, 4.0, 3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    assert threshold(values_N, good_N, 1.0) == 4.0
    assert threshold(values_N, good_N, 0.8) == 2.0  # all of a value or none: 3 of 4 alone would be too few
    assert threshold(values_N, good_N, 0.1) == 1.0
    assert threshold(values_N, ~good_N, 0.9) is None


def test_the_separation_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    values_N, good_N = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.4
    found = separation(judged(good_N), values_N)
    pairs = values_N[good_N][:, None] - values_N[~good_N][None]
    assert found is not None
    assert found.mean == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert found.low < found.mean < found.high
    assert separation(judged([True] * 8), np.arange(8.0)) is None


def test_a_gain_is_of_the_images_that_both_rules_judge(confounded: Labelled) -> None:
    margin_N, score_N = (numbers(confounded.values(expression(name))) for name in ("clip_margin", "clip_score"))
    better = gain(confounded, margin_N, score_N)
    assert better is not None
    known_N = ~np.isnan(margin_N)
    alone = separation(confounded, np.where(known_N, score_N, np.nan))
    own = separation(confounded, margin_N)
    assert own is not None
    assert alone is not None
    assert better.mean == pytest.approx(own.mean - alone.mean)
    assert better.low > 0.05
    worse = gain(confounded, np.where(known_N, score_N, np.nan), margin_N)
    assert worse is not None
    assert worse.mean == pytest.approx(-better.mean)
    assert worse.high < 0


def test_what_is_held_out_has_no_part_in_its_threshold(confounded: Labelled) -> None:
    score_N = numbers(confounded.values(expression("clip_score")))
    keep_N = held_out(confounded, score_N, 0.8)
    for prompt in (0, 1, 7):
        own_N = confounded.prompt_N == prompt
        swapped = judged(np.where(own_N, ~confounded.good_N, confounded.good_N))
        assert (held_out(swapped, score_N, 0.8)[own_N] == keep_N[own_N]).all()
    assert 0 < keep_N.sum() < len(keep_N)


def test_precision_and_recall_are_over_prompts_and_by_rarity(confounded: Labelled) -> None:
    good_N, every_N = confounded.good_N, np.ones(320, dtype=bool)
    found = kept(confounded, good_N & (np.array(confounded.rarity_N) == "common"), every_N)
    assert found.precision is not None
    assert (found.precision.mean, found.precision.high) == (1.0, 1.0)
    assert 0.85 < found.precision.low < 1.0  # of 40 prompts, not of 80 images
    assert found.recall_by_rarity == {"common": 1.0, "rare": 0.0}
    assert found.recall.low < 0.5 < found.recall.high
    assert kept(confounded, ~every_N, every_N).precision is None


def test_the_margin_is_chosen_where_the_score_is_lower_for_all_that_is_rare(confounded: Labelled) -> None:
    rules = [expression(text) for text in ("clip_score", "clip_margin", "clip_margin > 0", "-clip_score")]
    report = judges_report(
        confounded, rules, precision=0.9, labels="a test", why={"clip_margin": "they have no counterfactual"}
    )
    score, margin, condition, opposite = report.rules
    assert report.chosen == 1
    assert margin.accept.startswith("clip_margin >= 0.0")
    assert margin.verdict == "beats clip_score; accepts 80 images unseen: they have no counterfactual"
    assert opposite.verdict == "worse than clip_score"
    assert (score.gain, condition.separation, condition.accept) == (None, None, "clip_margin > 0")
    assert margin.kept is not None
    assert margin.kept.precision is not None
    assert margin.kept.precision.low < 0.9 < margin.kept.precision.high
    assert "accept = 'clip_margin >= 0.0" in report.toml
    limit = float(margin.accept.split()[-1])
    assert expression(margin.accept).kind == "condition"
    values_N = numbers(confounded.values(expression("clip_margin")))
    accepted_N = values_N >= limit
    assert limit <= values_N[accepted_N].min() < limit + 1e-6  # rounded down: the image at the threshold is kept
    assert confounded.good_N[accepted_N].mean() >= 0.9


def test_rules_read_whole_groups() -> None:
    labelled = judged([1, 0, 0, 1] * 2, clip_score=[1, 2, 3, 4, 8, 7, 6, 5])
    assert labelled.values(expression("rank(clip_score)")) == [4, 3, 2, 1, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"did you mean 'clip_score'\?"):
        labelled.values(expression("clip_scor"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image,label\na,1\n", "no column 'image_id'"),
        ("image_id,label\na,1\nb,2\n", "line 3: image_id = 'b', label = '2'"),
        ("image_id,label\n,1\n", "line 2: image_id = ''"),
        ("image_id,label\na,1\na,0\n", "line 3: 'a' has both labels"),
        ("image_id,label\na\n", "line 2: image_id = 'a', label = ''"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UserError) as raised:
        from_csv(str(tmp_path / "labels.csv"))
    assert words in str(raised.value)


def test_labels_are_words_or_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("\ufeffimage_id,label,who\na,1,x\nb,No,y\nc,RIGHT,\na,yes,\n")
    assert from_csv(str(tmp_path / "labels.csv")) == {"a": True, "b": False, "c": True}
