"""The columns and rows of an evaluation's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


COLUMNS = (
    Column(measure="right: common", heading="common right, %", factor=100),
    Column(measure="right: rare", heading="rare right, %", factor=100),
    Column(measure="right: unseen", heading="never seen right, %", factor=100),
    Column(measure="right: open", heading="open right, %", factor=100),
    Column(measure="pair_vendi: open", heading="pair Vendi", digits=3),
    Column(measure="distinct_values: open", heading="distinct values", digits=2),
    Column(measure="confidence: open", heading="oracle confidence, %", factor=100),
    Column(measure="kernel_distance", heading="kernel distance x 1000", factor=1000, digits=2),
)


def lead(result: Mapping[str, Any]) -> str:
    """A paragraph on what was compared, and how to read the tables.

    result: report.json.
    """
    sets = ", ".join(f"{count} {name}" for name, count in result["prompts"]["sets"].items())
    sampling = result["sampling"]
    return (
        f"{len(result['arms'])} arms on the same prompts and seeds: {sets}; {result['prompts']['group_size']} pictures "
        f"of each, {sampling['steps']} steps, guidance {sampling['guidance_scale']:g}. Brackets are 95 % intervals "
        f"from resampling prompts; small print is the paired difference to {result['base']!r}, bold where its interval "
        "leaves 0."
    )


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


def is_significant(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference excludes 0."""
    return bool(difference["low"] > 0 or difference["high"] < 0)
