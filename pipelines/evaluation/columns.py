"""The columns and rows of an evaluation's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Entry = Mapping[str, Any]

REAL = "real renders"
"""Row with the measures of renders of the training world, which a perfect model of it would reach."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the tables."""

    measure: str
    """Name of a measure in `report.json`."""
    heading: str
    """Its heading."""
    factor: float = 1.0
    """Factor on the measure."""
    digits: int = 1
    """Digits after the point."""
    summary: bool = False
    """Whether it is in the summary."""

    def numbers(self, estimate: Mapping[str, Any]) -> dict[str, float]:
        """An estimate with the factor applied.

        estimate: with the keys "mean", "low" and "high".
        """
        return {key: estimate[key] * self.factor for key in ("mean", "low", "high")}

    def words(self, estimate: Mapping[str, Any], sign: str = "") -> str:
        """The text `mean [low, high]`.

        estimate: with the keys "mean", "low" and "high".
        sign: "+" to show the sign of positive numbers too.
        """
        own = {key: f"{value:{sign}.{self.digits}f}" for key, value in self.numbers(estimate).items()}
        return f"{own['mean']} [{own['low']}, {own['high']}]"


_COLUMNS = (
    Column(measure="right: common", heading="common right, %", factor=100, summary=True),
    Column(measure="right: rare, single", heading="rare right, single, %", factor=100, summary=True),
    Column(measure="right: rare, relation", heading="rare right, relation, %", factor=100, summary=True),
    Column(measure="right: unseen, single", heading="never seen right, single, %", factor=100, summary=True),
    Column(measure="right: unseen, relation", heading="never seen right, relation, %", factor=100, summary=True),
    Column(measure="right: open", heading="open right, %", factor=100, summary=True),
    Column(measure="distinct_right: open", heading="distinct right of {group_size}", digits=2, summary=True),
    Column(measure="distinct_right: wide", heading="distinct right of {wide_group}", digits=2, summary=True),
    Column(measure="distinct_right_values: open", heading="distinct values, right only", digits=2),
    Column(measure="distinct_values: open", heading="distinct values", digits=2),
    Column(measure="pair_vendi: open", heading="pair Vendi", digits=3),
    Column(measure="confidence: open", heading="oracle confidence, %", factor=100),
    Column(measure="kernel_distance", heading="kernel distance x 1000", factor=1000, digits=2),
)


def columns(result: Mapping[str, Any], *, summary: bool = False) -> list[Column]:
    """The columns of the tables, with the sizes of the groups in their headings.

    result: report.json.
    summary: only those of the summary.
    """
    measured, sizes = result["arms"][0]["measures"], result["prompts"]
    return [
        replace(column, heading=column.heading.format(**sizes))
        for column in _COLUMNS
        if column.measure in measured and (column.summary or not summary)
    ]


def passes(entry: Entry) -> str:
    """What a picture of an arm costs: forward passes of the transformer for each one that is kept; "" for renders."""
    return f"{entry['passes']:.4g}" if "passes" in entry else ""


def lead(result: Mapping[str, Any]) -> str:
    """A paragraph on what was compared, and how to read the tables.

    result: report.json.
    """
    prompts, sampling = result["prompts"], result["sampling"]
    sets = ", ".join(f"{count} {name}" for name, count in prompts["sets"].items())
    wide = f" ({prompts['wide_group']} of the wide groups)" if prompts["wide_group"] else ""
    made = "one seed" if len(prompts["seeds"]) == 1 else f"{len(prompts['seeds'])} seeds of everything"
    return (
        f"{len(result['arms'])} arms on the same prompts and seeds: {sets}; {prompts['group_size']} pictures of each"
        f"{wide}, {made}, {sampling['steps']} steps, guidance {sampling['guidance_scale']:g}. "
        f"{_HALVES[prompts['half']].format(**prompts)}Brackets are 95 % intervals from resampling concepts. Small "
        f"print is the paired difference to {result['base']!r}, bold where its interval leaves 0, with a star where it "
        "does so together with those of all arms of the question (max-t, Westfall and Young 1993). Passes are forward "
        "passes of the transformer for each picture that is kept."
    )


_HALVES = {
    "all": "",
    "choose": "These concepts are the half on which settings may be chosen; what is chosen is reported on the other. ",
    "report": "Settings were chosen on other concepts than these: {chosen_on}. ",
}


def sections(result: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Entry], Sequence[Entry]]]:
    """For each question its text, the rows of its table, and those rows that are points of a curve.

    result: report.json.
    """
    entries: list[Entry] = result["arms"]
    base = entries[0]
    for question in dict.fromkeys(entry["question"] for entry in entries):
        own = [entry for entry in entries if entry["question"] == question]
        first = [base, {"arm": REAL, "measures": result["real"]}] if base in own else [base]
        yield question, [*first, *(e for e in own if e is not base)], [e for e in own if e["value"] is not None]


def change(difference: Mapping[str, Any], column: Column) -> tuple[str, bool]:
    """The words of a difference, with a star where it is significant among all arms of its question, and whether it is
    so alone."""
    low, high = difference.get("together", (0.0, 0.0))
    star = "*" if low > 0 or high < 0 else ""
    return column.words(difference, "+") + star, is_significant(difference)


def is_significant(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference excludes 0."""
    return bool(difference["low"] > 0 or difference["high"] < 0)
