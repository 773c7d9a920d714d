"""The figures of what each arm has of two things at once: pictures that are right, and differences among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.evaluation.columns import Entry
from pipelines.pages.scatter import Dot, scatter

_FIGURES = (
    ("right: open", "distinct_right: wide", "distinct right pictures of {wide_group}, open prompts"),
    ("right: open", "distinct_right_values: open", "distinct values of right pictures, open prompts"),
    ("right: rare", "distinct_right_values: rare", "distinct values of right pictures, rare prompts"),
    ("right: unseen", "distinct_right_values: unseen", "distinct values of right pictures, never-seen prompts"),
)
"""Measure across, measure up, and its words."""


def frontiers(entries: Sequence[Entry], prompts: Mapping[str, Any]) -> Iterator[str]:
    """The figures as HTML.

    entries: all arms of report.json.
    prompts: its settings of the prompts.
    """
    for across, up, words in _FIGURES:
        if up in entries[0]["measures"]:
            points = [(entry["arm"], entry["measures"][across], entry["measures"][up]) for entry in entries]
            yield scatter(
                [_dot(name, x, y, points) for name, x, y in points],
                across="share that is right",
                up=words.format(**prompts),
            )


def _dot(
    name: str,
    x: Mapping[str, float],
    y: Mapping[str, float],
    points: Sequence[tuple[str, Mapping[str, float], Mapping[str, float]]],
) -> Dot:
    here = (x["mean"], y["mean"])
    others = [(of_x["mean"], of_y["mean"]) for _, of_x, of_y in points]
    return Dot(
        name=name,
        x=here[0],
        y=here[1],
        on_the_front=not any(one[0] >= here[0] and one[1] >= here[1] and one != here for one in others),
        chosen=False,
        x_span=(x["low"], x["high"]),
        y_span=(y["low"], y["high"]),
    )
