"""Curves of a calibration: match and diversity, less the stock model's, over each setting that is a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.interventions.registry import find
from models.statistics import Estimate
from pipelines.calibration.report import SettingResult
from pipelines.calibration.stages import name_of
from pipelines.pages.curve import curve

_DIFFERENCES: Mapping[str, Callable[[SettingResult], Estimate | None]] = {
    "match": lambda one: one.match_difference,
    "pair Vendi": lambda one: one.pair_vendi_difference,
}
_STOCK = {"mean": 0.0, "low": 0.0, "high": 0.0}


def curves(settings: Sequence[SettingResult]) -> str:
    """The figures as HTML: one for each measure, setting and values of the other settings.

    settings: the stock model first.
    """
    keys = {name: tuple(own) for one in settings for name, own in one.acting.items()}
    parts = []
    for name, own in keys.items():
        for key in own:
            for beside, line in _lines(settings, name, key, keys).items():
                for heading, of in _DIFFERENCES.items():
                    points = [(value, point) for value, one in line if (point := _less_stock(one, of))]
                    if len(points) > 1:
                        parts.append(curve(f"{heading} less stock over {key}{beside}", points, None))
    return "".join(parts)


def _lines(
    settings: Sequence[SettingResult], name: str, key: str, keys: Mapping[str, Sequence[str]]
) -> dict[str, list[tuple[float, SettingResult]]]:
    """Settings that differ in one value alone, as (value, setting), by what they have in common. One without the
    intervention has the value at which it changes nothing, if there is such a value."""
    lines: dict[str, list[tuple[float, SettingResult]]] = {}
    entry = find(name)
    idle = dict(entry.idle).get(key) if entry else None
    for one in settings:
        value = one.acting.get(name, {}).get(key)
        if not isinstance(value, int | float):
            continue
        others = {other: values for other, values in one.acting.items() if other != name}
        rest = {of: own for of, own in one.acting[name].items() if of != key}
        common = name_of({**({name: rest} if rest else {}), **others}, keys) if rest or others else ""
        line = lines.setdefault(f", {common}" if common else "", [])
        if not line and idle is not None:
            line += [(idle, without) for without in settings if without.acting == others]
        line.append((value, one))
    return lines


def _less_stock(one: SettingResult, of: Callable[[SettingResult], Estimate | None]) -> dict[str, Any] | None:
    """A point; None where pictures blew up."""
    if not one.acting:
        return _STOCK
    found = of(one)
    return None if found is None else asdict(found)
