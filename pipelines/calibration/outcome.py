"""A stage whose groups are made: what each point gave, and which one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.calibration.choose import Choice, Tried, weigh
from pipelines.calibration.draw import Planned
from pipelines.calibration.results import GroupResult, find
from pipelines.calibration.stages import Setting, Stage
from pipelines.dataset.storage import Storage


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """A point of a stage with what its groups gave."""

    setting: Setting
    """Which one."""
    names: tuple[str, ...]
    """Of its groups, one per prompt."""
    results: tuple[GroupResult, ...]
    """Of these groups."""

    @cached_property
    def tried(self) -> Tried:
        """What it is chosen by."""
        return Tried(
            match=[np.array(one.match, dtype=np.float64) for one in self.results],
            diversity=np.array([one.pair_vendi for one in self.results]),
            blew_up=sum(one.blew_up for one in self.results),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A stage and its choice."""

    stage: Stage
    """What was tried."""
    points: tuple[Point, ...]
    """In the order of the stage."""
    choice: Choice | None
    """Among the points; None where pictures blew up at every one."""

    @property
    def chosen(self) -> Point | None:
        """The point that is chosen."""
        return None if self.choice is None else self.points[self.choice.number]


def outcome(stage: Stage, groups: Sequence[Planned], output: Storage) -> Outcome:
    """What a stage gave.

    stage: the stage.
    groups: its groups, all made, setting after setting.
    output: the folder of the calibration.
    """
    of_setting: dict[Setting, list[Planned]] = {}
    for one in groups:
        of_setting.setdefault(one.setting, []).append(one)
    points = tuple(
        Point(
            setting=setting, names=tuple(one.name for one in own), results=tuple(_made(output, one.name) for one in own)
        )
        for setting, own in of_setting.items()
    )
    return Outcome(stage=stage, points=points, choice=weigh([point.tried for point in points], stage.prefer))


def _made(output: Storage, name: str) -> GroupResult:
    result = find(output, name)
    assert result is not None
    return result
