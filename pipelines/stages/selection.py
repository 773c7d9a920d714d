"""Which images of a group stay. Relative to the group: a global cut-off on CLIP scores would delete the rare tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.config.tables import Selection

DUPLICATE, MARGIN, RANK = "duplicate", "margin", "rank"


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Per image of a group: rank (1 is best), the image_id it repeats, and why it is dropped (None: it stays)."""

    rank: list[int]
    duplicate_of: list[str | None]
    drop_reason: list[str | None]


def ranks(values_B: NDArray[np.float32]) -> list[int]:
    """1 for the highest value; equal ones rank by index."""
    rank_B = np.empty(len(values_B), dtype=np.int64)
    rank_B[np.argsort(-values_B, kind="stable")] = np.arange(1, len(values_B) + 1)
    return rank_B.tolist()


def select(
    rules: Selection,
    image_ids: Sequence[str],
    *,
    features_BD: NDArray[np.float32],
    margins_B: NDArray[np.float32] | None,
    ranked_by_B: NDArray[np.float32],
) -> Selected:
    """Rank by `ranked_by_B`. Then drop, in this order: repeats of an earlier image, margins below `min_margin`, and all
    but the `keep_per_group` best of the rest."""
    rank = ranks(ranked_by_B)
    repeats = _repeats(rules.duplicate_similarity, image_ids, features_BD)
    reasons: list[str | None] = [None if repeat is None else DUPLICATE for repeat in repeats]
    if margins_B is not None:
        for index in np.flatnonzero(margins_B < rules.min_margin):
            reasons[index] = reasons[index] or MARGIN
    if rules.keep_per_group:
        staying = [index for index in np.argsort(rank) if reasons[index] is None]
        for index in staying[rules.keep_per_group :]:
            reasons[index] = RANK
    return Selected(rank=rank, duplicate_of=repeats, drop_reason=reasons)


def _repeats(threshold: float, image_ids: Sequence[str], features_BD: NDArray[np.float32]) -> list[str | None]:
    """For each image, the first earlier one that it repeats and that is no repeat itself."""
    similarity_BB = features_BD @ features_BD.T
    originals: list[int] = []
    repeats: list[str | None] = []
    for index, own_id in enumerate(image_ids):
        original = next(
            (
                earlier
                for earlier in originals
                if image_ids[earlier] == own_id or (threshold < 1.0 and similarity_BB[earlier, index] >= threshold)
            ),
            None,
        )
        repeats.append(None if original is None else image_ids[original])
        if original is None:
            originals.append(index)
    return repeats
