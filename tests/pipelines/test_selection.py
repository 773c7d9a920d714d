"""Which images of a group stay: ranks, margins, duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.scorers.base import GroupScores
from pipelines.config.tables import Limit, Selection
from pipelines.stages.judge import Judged
from pipelines.stages.selection import Selected, ranks, select


def features(*angles: float) -> NDArray[np.float32]:
    """Unit vectors in the plane, at these angles in degrees."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def chosen(scores: list[float], margins: list[float] | None = None, ids: str = "abcd", **rules: Any) -> Selected:
    angles = rules.pop("angles", (0, 30, 60, 90))
    known = None if margins is None else np.array(margins, np.float32)
    columns = {"clip_margin": [None] * len(scores) if known is None else known.tolist(), **rules.pop("columns", {})}
    return select(
        Selection(**rules),
        ids[: len(scores)],
        features_BD=features(*angles),
        ranked_by_B=np.array(scores, np.float32) if known is None else known,
        columns=columns,
    )


def test_rank_goes_by_margin_where_there_is_one() -> None:
    score_B, margin_B = np.array([0.1, 0.3, 0.3, 0.2], np.float32), np.array([0.4, 0.1, 0.2, 0.3], np.float32)
    for scores, rank in (
        (GroupScores(score_B=score_B), [4, 1, 2, 3]),
        (GroupScores(score_B=score_B, margin_B=margin_B), [1, 4, 3, 2]),
    ):
        assert ranks(Judged(model="m", scores=scores, diversity=None).ranked_by_B) == rank
    assert chosen([0.1, 0.3, 0.3, 0.2]).rank == [4, 1, 2, 3]
    assert chosen([0.1, 0.3, 0.3, 0.2]).drop_reason == [None] * 4


def test_the_best_are_kept() -> None:
    assert chosen([0.1, 0.3, 0.4, 0.2], keep_per_group=2).drop_reason == ["rank", None, None, "rank"]
    assert chosen([0.1, 0.3, 0.4, 0.2], keep_per_group=9).drop_reason == [None] * 4


def test_a_low_margin_drops_only_where_it_is_known() -> None:
    assert chosen([0.1] * 4, [0.1, -0.1, 0.0, 0.2], min_margin=0.0).drop_reason == [None, "margin", None, None]
    assert chosen([0.1] * 4, min_margin=0.0).drop_reason == [None] * 4


def test_what_is_beyond_a_limit_is_dropped_with_the_column_s_name() -> None:
    columns = {"nsfw_nsfw": [0.1, 0.6, None, 0.5], "aesthetic_clip_score": [4.0, 4.0, 6.0, 2.0]}
    limits = (Limit(column="nsfw_nsfw", above=0.5), Limit(column="aesthetic_clip_score", below=3.0))
    dropped = chosen([0.1, 0.3, 0.4, 0.2], columns=columns, limits=limits).drop_reason
    assert dropped == [None, "nsfw_nsfw", None, "aesthetic_clip_score"]
    best = chosen([0.1, 0.3, 0.4, 0.2], columns=columns, limits=limits, keep_per_group=1).drop_reason
    assert best == ["rank", "nsfw_nsfw", None, "aesthetic_clip_score"]


def test_a_limit_drops_what_is_no_number_and_a_margin_does_not() -> None:
    nan, columns = float("nan"), {"light": [float("nan"), 0.5, 0.5, 0.5]}
    assert chosen([0.1] * 4, columns=columns, limits=(Limit(column="light", below=0.0),)).drop_reason[0] == "light"
    assert chosen([0.1] * 4, [nan, 0.1, 0.1, 0.1], min_margin=0.0).drop_reason == [None] * 4


def test_a_margin_equal_to_the_lowest_is_kept() -> None:
    # 0.1 in the margins' precision is more than 0.1, and 0.7 is less
    assert chosen([0.1] * 4, [0.1, 0.2, 0.3, 0.0], min_margin=0.1).drop_reason == [None, None, None, "margin"]
    assert chosen([0.1] * 4, [0.7, 0.8, 0.9, 0.6], min_margin=0.7).drop_reason == [None, None, None, "margin"]


def test_what_is_not_accepted_is_dropped_for_the_comparison_that_is_false() -> None:
    columns = {"vqa": [0.9, 0.5, None, 0.9], "clip_score": [0.3, 0.3, 0.3, 0.1]}
    accept = "vqa > 0.6 and\n  (clip_score > 0.2 or known(clip_margin))"
    dropped = chosen([0.1, 0.3, 0.4, 0.2], columns=columns, accept=accept).drop_reason
    assert dropped == [None, "vqa > 0.6", None, "clip_score > 0.2 or known(clip_margin)"]
    best = chosen([0.1, 0.3, 0.4, 0.2], columns=columns, accept=accept, keep_per_group=1).drop_reason
    assert best == ["rank", "vqa > 0.6", None, "clip_score > 0.2 or known(clip_margin)"]


def test_the_rank_that_is_accepted_is_that_of_the_selection() -> None:
    columns = {"rank_in_group": [1, 2, 3, 4]}  # of the main scorer, where another one ranks
    result = chosen([0.1, 0.3, 0.4, 0.2], columns=columns, accept="rank_in_group <= 2")
    assert result.drop_reason == ["rank_in_group <= 2", None, None, "rank_in_group <= 2"]


def test_equal_pixels_are_duplicates_of_the_first() -> None:
    result = chosen([0.1, 0.9, 0.3, 0.2], ids="abaa")
    assert result.duplicate_of == [None, None, "a", "a"]
    assert result.drop_reason == [None, None, "duplicate", "duplicate"]


def test_near_images_are_duplicates_of_what_stays() -> None:
    # 0 and 20 degrees are near, 20 and 40 too, 0 and 40 are not: the third repeats nothing that stays.
    result = chosen([0.1] * 4, angles=(0, 20, 40, 90), duplicate_similarity=float(np.cos(np.deg2rad(25))))
    assert result.duplicate_of == [None, "a", None, None]
    assert chosen([0.1] * 4, angles=(0, 0, 0, 0)).duplicate_of == [None] * 4  # by default only equal pixels count


def test_a_duplicate_takes_no_place_among_the_best() -> None:
    assert chosen([0.9, 0.8, 0.7, 0.1], ids="aacd", keep_per_group=2).drop_reason == [None, "duplicate", None, "rank"]
