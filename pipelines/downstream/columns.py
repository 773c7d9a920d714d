"""What the tables and the figure of an experiment show, in words."""

from __future__ import annotations

from models.statistics import Estimate
from pipelines.downstream.report import MADE, MEASURED, Downstream, SourceResult

HEADINGS = (
    "source",
    *(f"{name}, %" for name in MEASURED),
    "pictures of a concept",
    "passes for a concept",
    "right pictures, %",
    "coverage, %",
    "density",
)
"""Of the table of each basis."""

_PERCENT = 100.0


def lead(content: Downstream) -> str:
    """A paragraph on what was compared, and how to read the tables."""
    real, made, training = (content.settings[name] for name in ("real", "made", "training"))
    first = next(iter(content.settings["arms"]))
    counted = ", ".join(f"{content.concepts[name]} {name}" for name in MEASURED if name != MADE)
    means = {
        "equal cost": f"every source spends what {made['drawn_each']} pictures of {first!r} take",
        "equal numbers": f"every concept gets {made['each']} pictures",
    }
    compared = " ".join(f"At {basis}, {means[basis]}." for basis in content.compared)
    return (
        f"Classifiers of {counted} concepts, pairs of a colour or a texture with a shape, are trained on "
        f"{real['pictures']} real pictures, as common as the world has them, and on pictures of the tail and never "
        f"seen concepts from each source, labelled as their prompts say. They are tested on {real['test_each']} real "
        f"{real['tested_on']} pictures of each concept; {len(training['seeds'])} seeds, {training['steps']} steps of "
        f"{training['batch']} pictures for all. {compared} A pass is one row of the transformer. Brackets are 95 % "
        "intervals from resampling seeds and concepts together (of right pictures, coverage and density: concepts); "
        f"small print is the paired difference to {content.base!r}, bold where its interval leaves 0."
    )


def accuracy(one: SourceResult, name: str) -> tuple[str, str, bool]:
    """The accuracy on a group of concepts: the value with its interval, its difference to the base ("" for the base),
    and whether the interval of that leaves 0. ("", "", False) where there are no such concepts."""
    if name not in one.accuracy:
        return "", "", False
    if one.difference is None:
        return words(one.accuracy[name], _PERCENT), "", False
    change = one.difference[name]
    return words(one.accuracy[name], _PERCENT), words(change, _PERCENT, sign="+"), change.low > 0 or change.high < 0


def others(one: SourceResult) -> list[str]:
    """The cells after the accuracies."""
    return [
        f"{one.pictures_each:.1f}",
        f"{one.passes_each:.0f}",
        words(one.right, _PERCENT),
        words(one.coverage, _PERCENT),
        words(one.density, digits=2),
    ]


def words(estimate: Estimate | None, factor: float = 1.0, *, digits: int = 1, sign: str = "") -> str:
    """The text `mean [low, high]`; "" for None.

    estimate: what is said.
    factor: on it.
    digits: after the point.
    sign: "+" to show the sign of positive numbers too.
    """
    if estimate is None:
        return ""
    mean, low, high = (f"{factor * v:{sign}.{digits}f}" for v in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"
