"""Selects the images of a group that are kept, relative to the group: a global threshold on CLIP scores would remove
rare concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.config.tables import Selection

DUPLICATE, RANK = "duplicate", "rank"
"""Values of the column `drop_reason`, besides the reasons of `Selection.rules`."""


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The selection of a group, with one value per image."""

    rank: list[int]
    """1 is the best."""
    duplicate_of: list[str | None]
    """image_id of the earlier image that it repeats; None where it repeats none."""
    drop_reason: list[str | None]
    """Why it is dropped; None where it is kept."""


def ranks(values_B: NDArray[np.float32]) -> list[int]:
    """Ranks of values: 1 for the highest; equal ones rank by index.

    values_B: float32 [B].
    """
    rank_B = np.empty(len(values_B), dtype=np.int64)
    rank_B[np.argsort(-values_B, kind="stable")] = np.arange(1, len(values_B) + 1)
    return rank_B.tolist()


def select(
    rules: Selection,
    image_ids: Sequence[str],
    *,
    features_BD: NDArray[np.float32],
    ranked_by_B: NDArray[np.float32],
    columns: Mapping[str, Sequence[float | None]],
) -> Selected:
    """The selection of a group: drops repeats of an earlier image, then what breaks a rule, and then all but the
    `keep_per_group` best of the rest.

    rules: the settings.
    image_ids: of the B images.
    features_BD: float32 [B, D], image vectors of unit length.
    ranked_by_B: float32 [B], the values that rank the images.
    columns: those that the rules read, but for `rank_in_group`, and perhaps others: a value per image.
    """
    rank = ranks(ranked_by_B)
    repeats = _repeats(rules.duplicate_similarity, image_ids, features_BD)
    reasons: list[str | None] = [None if repeat is None else DUPLICATE for repeat in repeats]
    judged = {**columns, "rank_in_group": rank}
    for rule in rules.rules:
        for at in np.flatnonzero(rule.broken(judged, len(rank))):
            reasons[at] = reasons[at] or rule.reason
    if rules.keep_per_group:
        remaining = [index for index in np.argsort(rank) if reasons[index] is None]
        for index in remaining[rules.keep_per_group :]:
            reasons[index] = RANK
    return Selected(rank=rank, duplicate_of=repeats, drop_reason=reasons)


def _repeats(threshold: float, image_ids: Sequence[str], features_BD: NDArray[np.float32]) -> list[str | None]:
    """For each image the image_id of the first earlier one that it repeats and that is not a repeat itself."""
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
