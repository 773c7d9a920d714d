"""report.json: every tried setting with its measures, and what each stage chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.statistics import Estimate, Floats, bootstrap
from pipelines.calibration.choose import Prefer, front
from pipelines.calibration.config import CalibrationConfig
from pipelines.calibration.outcome import Outcome, Point
from pipelines.calibration.results import AtBlock, GroupResult
from pipelines.calibration.stages import Setting, values_of

FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class SettingResult:
    """A setting that was tried."""

    name: str
    """As tables call it."""
    stage: int
    """Number of the first stage in which it was, from 1."""
    acting: dict[str, dict[str, Any]]
    """Intervention that acts -> its values of the settings that were tried."""
    sigma: float
    """Of TORA; 1 is without it."""
    strength: float
    """Of repulsion; 0 is without it."""
    match: Estimate | None
    """How well images show what their prompts say: the margin where a prompt has a counterfactual, else the score. None
    where pictures blew up, as all estimates are."""
    score: Estimate | None
    """Cosine of images to their prompts."""
    margin: Estimate | None
    """The same less that to the counterfactual, over the prompts that have one; None where none has."""
    pair_vendi: Estimate | None
    """Diversity of groups: mean Vendi score over pairs of images, from 1 to 2."""
    match_difference: Estimate | None
    """Paired difference of the match to the stock model's."""
    pair_vendi_difference: Estimate | None
    """Paired difference of the diversity."""
    blew_up: float
    """Share of the groups without pictures: values that are not finite, or a single colour."""
    seconds_per_image: float
    """Time of drawing."""
    edits: dict[str, tuple[AtBlock, ...]]
    """Intervention -> its blocks, on average over the groups. At strength 0 repulsion looks and moves nothing."""
    eta: dict[int, float]
    """Block -> the paper's eta that this strength is there: strength times mean |c|^2."""
    on_the_front: bool
    """Whether no other setting is at least as good in match and diversity, and better in one."""
    groups: tuple[str, ...]
    """Names of its groups, one per prompt, and of their pictures in images/."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A stage and its choice."""

    tried: dict[str, dict[str, list[Any]]]
    """Intervention -> its settings with the values that were tried, and none of it."""
    prefer: Prefer
    """By which rule it chose."""
    settings: tuple[int, ...]
    """Numbers of its settings, in `Calibration.settings`."""
    chosen: int | None
    """Number of the chosen one there; None where pictures blew up in every one."""
    reason: str
    """Why, in words."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The content of report.json."""

    model: str
    """`model.path`."""
    scorer: str
    """`scoring.model`."""
    prompts: tuple[str, ...]
    """One group of each was drawn in every setting."""
    group_size: int
    """Images of a group."""
    settings: tuple[SettingResult, ...]
    """Of all stages, each once, the stock model first."""
    stages: tuple[StageResult, ...]
    """Each began with what the one before chose."""
    chosen: int | None
    """Number of the setting that the last one chose; None where pictures blew up in every one."""


def calibration(config: CalibrationConfig, outcomes: Sequence[Outcome]) -> Calibration:
    """The content of report.json.

    config: the settings.
    outcomes: of the stages that were made, one or more; the first point is the stock model.
    """
    points: dict[Setting, tuple[int, Point]] = {}
    for stage, one in enumerate(outcomes, 1):
        for point in one.points:
            points.setdefault(point.setting, (stage, point))
    numbers = {setting: number for number, setting in enumerate(points)}
    stock = next(iter(points.values()))[1]
    on_the_front = front([point.tried for _, point in points.values()])
    stages = tuple(_stage(one, numbers) for one in outcomes)
    return Calibration(
        model=config.run.model.path,
        scorer=config.run.scoring.model,
        prompts=tuple(one.prompt for one in stock.results),
        group_size=config.run.group.size,
        settings=tuple(
            _setting(config, stage, point, stock, on_the_front=here)
            for (stage, point), here in zip(points.values(), on_the_front, strict=True)
        ),
        stages=stages,
        chosen=stages[-1].chosen,
    )


def _stage(one: Outcome, numbers: Mapping[Setting, int]) -> StageResult:
    return StageResult(
        tried={name: {key: [*several] for key, several in values.items()} for name, values in one.stage.tried.items()},
        prefer=one.stage.prefer,
        settings=tuple(numbers[point.setting] for point in one.points),
        chosen=None if one.chosen is None else numbers[one.chosen.setting],
        reason=_reason(one),
    )


def _reason(one: Outcome) -> str:
    """Why a stage chose as it did, with its numbers."""
    if one.choice is None:
        return "pictures blew up in every setting"
    best, chosen = one.points[one.choice.best], one.points[one.choice.number]
    some = f"{len(one.choice.as_good)} of {len(one.points)} settings"
    if one.stage.prefer == "diversity":
        return (
            f"{some} match their prompts as well as the best ({best.setting.name}, {best.tried.mean_match:.4f}); of "
            f"these {chosen.setting.name} has the most diverse groups ({chosen.tried.mean_diversity:.3f})"
        )
    return (
        f"{some} have groups as diverse as the most diverse ({best.setting.name}, {best.tried.mean_diversity:.3f}); of "
        f"these {chosen.setting.name} matches its prompts best ({chosen.tried.mean_match:.4f})"
    )


def _of(results: Sequence[GroupResult], values: Callable[[GroupResult], Sequence[float]]) -> list[Floats]:
    return [np.array(values(one), dtype=np.float64) for one in results]


def _setting(config: CalibrationConfig, stage: int, point: Point, stock: Point, *, on_the_front: bool) -> SettingResult:
    tried, results, setting = point.tried, point.results, point.setting
    whole, paired = not tried.blew_up, not tried.blew_up and not stock.tried.blew_up and point is not stock
    edits = {name: _over_groups(results, name) for name in dict.fromkeys(n for one in results for n in one.edits)}
    images = sum(len(one.scores) for one in results)
    margins = [values for values in _of(results, lambda one: one.margins) if len(values)]
    return SettingResult(
        name=setting.name,
        stage=stage,
        acting=values_of(setting.acting, config.keys),
        sigma=setting.sigma,
        strength=setting.strength,
        match=bootstrap(tried.match) if whole else None,
        score=bootstrap(_of(results, lambda one: one.scores)) if whole else None,
        margin=bootstrap(margins) if whole and margins else None,
        pair_vendi=bootstrap(list(tried.diversity[:, None])) if whole else None,
        match_difference=bootstrap(_differences(tried.match, stock.tried.match)) if paired else None,
        pair_vendi_difference=bootstrap(list((tried.diversity - stock.tried.diversity)[:, None])) if paired else None,
        blew_up=tried.blew_up / len(results),
        seconds_per_image=sum(one.seconds for one in results if not one.blew_up) / max(1, images),
        edits=edits,
        eta={at.block: setting.strength * at.square for at in edits.get("repulsion", ()) if setting.strength},
        on_the_front=on_the_front,
        groups=point.names,
    )


def _differences(ours: Sequence[Floats], theirs: Sequence[Floats]) -> list[Floats]:
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]


def _over_groups(results: Sequence[GroupResult], name: str) -> tuple[AtBlock, ...]:
    """The mean over the groups, block by block."""
    of_block: dict[int, list[AtBlock]] = {}
    for one in results:
        for at in one.edits.get(name, ()):
            of_block.setdefault(at.block, []).append(at)
    keys = ("square", "displacement", "before", "after")
    return tuple(
        AtBlock(block=block, **{key: float(np.mean([getattr(at, key) for at in found])) for key in keys})
        for block, found in sorted(of_block.items())
    )
