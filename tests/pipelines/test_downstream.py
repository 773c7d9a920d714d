"""What a downstream experiment keeps of drawn pictures, what its classifier learns, and what it says of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.scorers.base import ScorerSpec
from models.spec import ModelSpec, Sampling
from models.statistics import crossed
from pipelines.dataset.storage import Storage
from pipelines.downstream import classifier, renders
from pipelines.downstream.concepts import Concept, concepts
from pipelines.downstream.config import Arm, Choose, DownstreamConfig, Judge, Real, Source, Training
from pipelines.downstream.keep import Keeper
from pipelines.downstream.pool import Pool
from pipelines.downstream.renders import Labelled
from pipelines.downstream.trainings import School

GROUP = 2


def pool(score_CP: list[list[float]], *, passes: float = 1.0, vectors: np.ndarray | None = None) -> Pool:
    """Pictures with these scores, which are also their margins, less 0.5; all different but for `vectors`."""
    score = np.array(score_CP, np.float32)
    shape = score.shape
    different = np.broadcast_to(np.eye(shape[1], dtype=np.float32), (*shape, shape[1]))
    return Pool(
        pictures_CPHWC=np.zeros((*shape, 64, 64, 3), np.uint8),
        score_CP=score,
        margin_CP=score - np.float32(0.5),
        vectors_CPD=different if vectors is None else vectors,
        right_CP=score > 0.5,
        passes_P=np.full(shape[1], passes),
    )


def keeper(judge: Judge, choose: Choose = "first") -> Keeper:
    reference = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    return Keeper(judge=judge, choose=choose, least_score=0.5, similarity=0.9, reference_MD=reference, group=GROUP)


def test_a_filter_draws_until_there_are_enough_and_fills_up_with_the_best_of_the_rest() -> None:
    made = pool([[0.9, 0.1, 0.8, 0.7, 0.6, 0.6], [0.1, 0.2, 0.9, 0.4, 0.3, 0.0]])
    kept = keeper("score").equal_numbers(made, 2)
    assert [picks.tolist() for picks in kept.picks] == [[0, 2], [2, 3]]
    assert kept.passes == 4 + 6  # two groups of the first concept; all of the second, where one alone is good
    unfiltered = keeper("none").equal_numbers(made, 2)
    assert [picks.tolist() for picks in unfiltered.picks] == [[0, 1], [0, 1]]
    assert unfiltered.passes == 2 + 2


def test_at_equal_cost_a_source_with_dearer_pictures_gets_fewer() -> None:
    scores = [[0.9] * 6, [0.9, 0.1] * 3]
    for passes, found in ((1.0, [4, 2]), (2.0, [2, 1])):
        kept = keeper("score").equal_cost(pool(scores, passes=passes), 6, budget=8.0)
        assert [len(picks) for picks in kept.picks] == found
        assert kept.passes == 8.0


def test_a_quota_gives_what_easy_concepts_do_not_need_to_others() -> None:
    made = pool([[0.9] * 6, [0.1, 0.1, 0.1, 0.9, 0.9, 0.9]])
    uniform, quota = (keeper("margin", choose).equal_cost(made, 6, budget=8.0) for choose in ("first", "quota"))
    assert [len(picks) for picks in uniform.picks] == [4, 1]
    assert [len(picks) for picks in quota.picks] == [2, 3]
    assert uniform.passes == quota.passes == 8.0


def test_a_quota_counts_repeats_once_and_takes_them_before_what_the_judge_refuses() -> None:
    vectors = np.eye(6, dtype=np.float32)[None, [0, 0, 1, 1, 2, 3]]
    made = pool([[0.9, 0.9, 0.9, 0.8, 0.1, 0.2]], vectors=vectors)
    assert keeper("margin", "quota").equal_numbers(made, 2).picks[0].tolist() == [0, 2]
    assert keeper("margin", "quota").equal_numbers(made, 4).picks[0].tolist() == [0, 2, 1, 3]
    assert keeper("margin", "quota").equal_numbers(made, 5).picks[0].tolist() == [0, 2, 1, 3, 5]


def test_covariance_chooses_among_all_that_are_accepted() -> None:
    made = pool([[0.9] * 4 + [0.1] * 2])
    kept = keeper("margin", "covariance").equal_numbers(made, 3)
    assert len({*kept.picks[0].tolist()} & {0, 1, 2, 3}) == 3
    assert kept.passes == 6


def test_groups_of_several_arms_are_taken_in_turn() -> None:
    one, other = pool([[0.1, 0.2, 0.3, 0.4]], passes=1.0), pool([[0.5, 0.6, 0.7, 0.8]], passes=2.0)
    joined = Pool.in_turn([one, other], GROUP)
    assert joined.score_CP[0].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.3, 0.4, 0.7, 0.8])
    assert joined.passes_P.tolist() == [1, 1, 2, 2, 1, 1, 2, 2]
    fewer = one.part(slice(0, GROUP))
    assert Pool.in_turn([fewer, other], GROUP).score_CP[0].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.7, 0.8])


def test_settings_are_chosen_on_pictures_that_the_test_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = [one for one in concepts() if one.part == "never seen"][:1]
    tested: list[NDArray[np.uint8]] = []

    def seen(_: classifier.PairNet, pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
        tested.append(pictures)
        return np.zeros((len(pictures), 2), np.int64)

    monkeypatch.setattr(classifier, "predicted", seen)
    for name in ("test", "validation"):
        config = _experiment(tmp_path, Real(pictures=4, test_each=3, tested_on=name))
        School(config, Storage.open(str(tmp_path)), rare).right(None, seed=0)
    assert [len(pictures) for pictures in tested] == [3, 3]
    assert not (tested[0][:, None] == tested[1]).all((2, 3, 4)).any()


def test_a_classifier_learns_a_concept_from_the_pictures_that_are_added_and_is_the_same_each_time() -> None:
    settings = Training(steps=40, batch=16, learning_rate=1e-2, seeds=(0,), shift=1)
    rare = next(one for one in concepts() if one.part == "never seen")
    common = [one for one in concepts() if one.part == "head" and one.kind == "colour"][:3]
    parts = [_labelled(one, 16, "training") for one in (*common, rare)]
    test = renders.of_concept(rare, 16, "test")

    def right(data: list[Labelled], seed: int = 0) -> float:
        both = Labelled.joined(data)
        net = classifier.train(both.pictures_NHWC, both.classes, settings, seed)
        return float((classifier.predicted(net, test)[:, 0] == rare.number).mean())

    assert right(parts[:-1]) == 0.0
    assert right(parts) == right(parts) > 0.7
    few, one = replace(settings, steps=2), parts[0]
    first, second = (classifier.train(one.pictures_NHWC, one.classes, few, seed) for seed in (0, 1))
    assert not np.array_equal(classifier.predicted(first, test), classifier.predicted(second, test))


def test_a_picture_teaches_only_what_its_prompt_names() -> None:
    colour = next(one for one in concepts() if one.kind == "colour")
    texture = next(one for one in concepts() if one.kind == "texture")
    assert colour.classes.tolist() == [colour.number, -1]
    assert texture.classes.tolist() == [-1, texture.number]
    real = renders.long_tailed(50, seed=0)
    assert (real.classes >= 0).all()
    shape = real.classes // np.array([8, 4])
    assert (shape[:, 0] == shape[:, 1]).all()


def test_concepts_and_their_parts() -> None:
    every = concepts()
    counts = {part: sum(one.part == part for one in every) for part in ("head", "tail", "never seen")}
    assert counts == {"head": 72, "tail": 36, "never seen": 12}
    assert [one.prompt.rarity for one in concepts(1)] == ["common", "common", "rare", "rare", "unseen"]


def test_an_interval_of_a_table_sees_what_its_rows_share() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(8, 1)), rng.normal(size=(1, 30))
    shared = crossed(np.broadcast_to(rows, (8, 30)).copy())
    own = crossed(np.broadcast_to(columns, (8, 30)).copy())
    assert shared.high - shared.low == pytest.approx(4 * rows.std() / np.sqrt(8), rel=0.15)
    assert own.high - own.low == pytest.approx(4 * columns.std() / np.sqrt(30), rel=0.15)
    assert shared.mean == pytest.approx(rows.mean())


def _experiment(folder: Path, real: Real) -> DownstreamConfig:
    return DownstreamConfig(
        output=str(folder),
        model=ModelSpec(path="m"),
        oracle="o",
        scorer=ScorerSpec(model="s"),
        sampling=Sampling(),
        real=real,
        training=Training(steps=1, batch=2),
        arms=(Arm(name="stock"),),
        sources=(Source(name="nothing"),),
        base="nothing",
    )


def _labelled(concept: Concept, each: int, purpose: str) -> Labelled:
    pictures = renders.of_concept(concept, each, purpose)
    return Labelled(pictures_NHWC=pictures, classes=np.tile(concept.classes, (each, 1)))
