"""report.json: every rule with how well it judges, and the one that is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context

import numpy as np

from models.statistics import Estimate
from pipelines.config.expressions import Expression, expression
from pipelines.judging.labelled import Labelled
from pipelines.judging.measure import Floats, Kept, gain, held_out, kept, numbers, separation, threshold

FILE = "report.json"
BASE = "clip_score"
"""The rule that the others have to beat."""

_DIGITS = Context(prec=6, rounding=ROUND_FLOOR)


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """A rule, measured."""

    rule: str
    """An expression: a number, for which a threshold is chosen, or a condition as it stands."""
    accept: str
    """The condition, as `selection.accept` takes it; "" where no threshold has the wanted precision."""
    judged: int
    """Labelled images for which it has a value."""
    separation: Estimate | None
    """The chance that a good image has a higher value than a bad one; None for conditions."""
    gain: Estimate | None
    """The same less that of `BASE`, on the images and prompts of both."""
    kept: Kept | None
    """What it keeps of the images that it judges, with thresholds chosen on other prompts; None where no threshold has
    the wanted precision. A condition also keeps those for which it is unknown."""
    verdict: str
    """Whether it beats `BASE`, and if not, why."""


@dataclass(frozen=True, kw_only=True)
class JudgesReport:
    """The content of report.json."""

    labels: str
    """Where the labels are from."""
    images: int
    """Labelled images."""
    good: int
    """Those that are good."""
    prompts: int
    """Their prompts."""
    good_by_rarity: dict[str, str]
    """Rarity -> "good of all"."""
    precision: float
    """The wanted one."""
    rules: tuple[RuleResult, ...]
    """In the order in which they were named."""
    chosen: int | None
    """The rule with the best recall among those that have the wanted precision, as far as can be told."""

    @property
    def lead(self) -> str:
        """What was judged, in a sentence."""
        parts = ", ".join(f"{count} {rarity}" for rarity, count in self.good_by_rarity.items())
        return (
            f"{self.images} images of {self.prompts} prompts with labels from {self.labels}; {self.good} are good"
            f"{f' ({parts})' if parts else ''}."
        )

    @property
    def toml(self) -> str:
        """The chosen rule as settings of a run."""
        if self.chosen is None:
            return f"# no rule has a precision of {self.precision:g}: label more images, or want less"
        return f"[selection]\naccept = '{self.rules[self.chosen].accept}'"


def judges_report(
    labelled: Labelled, rules: Sequence[Expression], *, precision: float, labels: str, why: Mapping[str, str]
) -> JudgesReport:
    """Measure rules.

    labelled: the images.
    rules: numbers and conditions.
    precision: the wanted one.
    labels: where the labels are from.
    why: column -> why it may be missing, for verdicts.
    """
    base_N = numbers(labelled.values(expression(BASE)))
    results = tuple(_measured(labelled, rule, base_N, precision, why) for rule in rules)
    able = [
        (one.kept.recall.mean, -at)
        for at, one in enumerate(results)
        if one.accept and one.kept and one.kept.precision and one.kept.precision.high >= precision
    ]
    all_, good = Counter(labelled.rarity_N), Counter(np.array(labelled.rarity_N)[labelled.good_N].tolist())
    return JudgesReport(
        labels=labels,
        images=len(labelled.good_N),
        good=int(labelled.good_N.sum()),
        prompts=len(np.unique(labelled.prompt_N)),
        good_by_rarity={rarity: f"{good[rarity]} of {all_[rarity]}" for rarity in sorted(all_) if rarity},
        precision=precision,
        rules=results,
        chosen=-max(able)[1] if able else None,
    )


def _measured(
    labelled: Labelled, rule: Expression, base_N: Floats, precision: float, why: Mapping[str, str]
) -> RuleResult:
    values = labelled.values(rule)
    known_N = np.array([value is not None for value in values])
    judged = int(known_N.sum())
    if rule.kind == "condition":
        keep_N = np.array([value is not False for value in values])
        found = kept(labelled, keep_N, np.ones_like(known_N))
        verdict = "a condition, as it stands" + _unknown(labelled, rule, judged, why)
        return RuleResult(
            rule=rule.text, accept=rule.text, judged=judged, separation=None, gain=None, kept=found, verdict=verdict
        )
    values_N = numbers(values)
    lowest = threshold(values_N[known_N], labelled.good_N[known_N], precision)
    better = None if rule.text == BASE else gain(labelled, values_N, base_N)
    return RuleResult(
        rule=rule.text,
        accept="" if lowest is None else f"{rule.text} >= {_rounded(lowest)}",
        judged=judged,
        separation=separation(labelled, values_N),
        gain=better,
        kept=None if lowest is None else kept(labelled, held_out(labelled, values_N, precision), known_N),
        verdict=_verdict(rule, better) + _unknown(labelled, rule, judged, why),
    )


def _verdict(rule: Expression, better: Estimate | None) -> str:
    if rule.text == BASE:
        return "what the others have to beat"
    if better is None:
        return f"not compared with {BASE}: the images with a value are all good, or all bad"
    if better.low > 0:
        return f"beats {BASE}"
    if better.high < 0:
        return f"worse than {BASE}"
    return f"no better than {BASE}, as far as these prompts can tell"


def _unknown(labelled: Labelled, rule: Expression, judged: int, why: Mapping[str, str]) -> str:
    missing = len(labelled.good_N) - judged
    reasons = sorted({why[column] for column in rule.columns if column in why})
    return f"; accepts {missing} images unseen{': ' if reasons else ''}{', '.join(reasons)}" if missing else ""


def _rounded(value: float) -> str:
    """Six digits, rounded down, so that the image with this value is kept."""
    return repr(float(_DIGITS.create_decimal(repr(value))))
