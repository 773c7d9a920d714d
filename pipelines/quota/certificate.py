"""What came of each quota, for certificate.parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.dataset import parquet
from pipelines.dataset.certificate import EXAMPLES, FILE, GIVEN_UP, MET, SCHEMA
from pipelines.dataset.storage import Storage
from pipelines.quota.estimate import Estimate, unseen, wilson
from pipelines.quota.state import State

_AT_A_TIME = 10_000


def write(output: Storage, state: State, arms: Sequence[str]) -> None:
    """Write certificate.parquet.

    output: the output folder.
    state: after the last round.
    arms: names of all arms of the config.
    """
    with output.open_output(FILE) as file, parquet.Writer(file, SCHEMA) as writer:
        for start in range(0, len(state.census.names), _AT_A_TIME):
            numbers = range(start, min(start + _AT_A_TIME, len(state.census.names)))
            rows = [_row(state, number, arms) for number in numbers]
            writer.write(pa.Table.from_pylist(rows, SCHEMA), small_groups=True)


def _row(state: State, number: int, arms: Sequence[str]) -> dict[str, Any]:
    accepted = int(state.distinct.count_K[number])
    made, passed = int(state.images_KA[number].sum()), int(state.passed_KA[number].sum())
    repeats = int(state.repeats_K[number])
    rest = unseen(
        int(state.distinct.sampled_K[number]),
        accepted,
        int(state.distinct.once_K[number]),
        int(state.distinct.twice_K[number]),
    )
    passing = wilson(passed, made)
    row = {
        "quota": state.census.names[number],
        "asked": state.quota.accepted,
        "accepted": accepted,
        "state": MET if accepted == state.quota.accepted else GIVEN_UP,
        "groups": int(state.groups_KA[number].sum()),
        "groups_failed": int(state.failed_K[number]),
        "made": made,
        "passed": passed,
        "repeats": repeats,
        "over_quota": passed - accepted - repeats,
        "acceptance": vars(wilson(accepted, _independent(state, number, accepted, made))),
        "modes_unseen": vars(rest.modes),
        "next_is_new": vars(rest.share),
        "images_for_one_more": vars(_inverse(passing, rest.share)),
        "best_arm": _best_arm(state, number, arms),
        "arms": [*_arms(state, number, arms)],
        "examples": [
            {"shard": int(state.example_shards_KE[number, at]), "image_id": state.distinct.id_of(number, at)}
            for at in range(min(accepted, EXAMPLES))
        ],
    }
    return {**row, "reason": None if row["state"] == MET else _reason(row)}


def _reason(row: dict[str, Any]) -> str:
    """Why a quota was given up, in a sentence."""
    made, passed, accepted = row["made"], row["passed"], row["accepted"]
    if not made:
        return f"all {row['groups']:,} groups failed: see failed/"
    if not passed:
        return f"0 of {made:,} images passed the judge: the model cannot draw it, or the judge cannot see it"
    if passed < _LITTLE * made:
        few = f"only {passed:,} of {made:,} images passed the judge"
        return f"{few}: the model hardly draws it, or the judge hardly sees it"
    if row["next_is_new"]["value"] < _LITTLE:
        repeats = f"{row['repeats']:,} of {passed:,} valid images"
        return f"new ones repeat old ones: {repeats} repeat the {accepted:,} accepted"
    return (
        f"{row['groups']:,} groups are not enough: one more takes about "
        f"{row['images_for_one_more']['value']:,.0f} images; raise quota.most_groups"
    )


_LITTLE = 0.1
"""Share below which images that pass, or that are new, are so few that this is the reason."""


def _independent(state: State, number: int, accepted: int, made: int) -> float:
    """How many independent images tell as much as those made, whose groups agree more than chance would have them."""
    groups = int((state.groups_KA[number]).sum() - state.failed_K[number])
    if groups < 2 or not 0 < accepted < made:
        return made
    share = accepted / made
    size = made / groups
    between = max(0.0, float(state.squares_K[number]) - accepted**2 / groups) / (groups - 1)
    return made / max(1.0, between / (size * share * (1 - share)))


def _inverse(passing: Estimate, new: Estimate) -> Estimate:
    """Images for one more accepted one."""

    def one_over(share: float) -> float:
        return 1 / share if share > 0 else math.inf

    return Estimate(
        value=one_over(passing.value * new.value),
        low=one_over(passing.high * new.high),
        high=one_over(passing.low * new.low),
    )


def _best_arm(state: State, number: int, arms: Sequence[str]) -> str | None:
    work_A = state.spent_KA[number]
    yields = np.where(work_A > 0, state.accepted_KA[number] / np.where(work_A > 0, work_A, 1.0), 0.0)
    return arms[int(yields.argmax())] if yields.any() else None


def _arms(state: State, number: int, arms: Sequence[str]) -> Iterator[dict[str, Any]]:
    for at, arm in enumerate(arms):
        if state.groups_KA[number, at]:
            yield {
                "arm": arm,
                "groups": int(state.groups_KA[number, at]),
                "made": int(state.images_KA[number, at]),
                "passed": int(state.passed_KA[number, at]),
                "accepted": int(state.accepted_KA[number, at]),
            }
