"""report.json: every tried setting with its measures, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from models.statistics import Estimate, Floats, bootstrap
from pipelines.calibration.choose import HOW, RULES, Tried, choose, front
from pipelines.calibration.config import CalibrationConfig, Setting
from pipelines.calibration.results import AtBlock, GroupResult

FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class SettingResult:
    """A point of the grid."""

    name: str
    """As tables call it."""
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
    """The stock model first."""
    rule: str
    """By which one was chosen, in words."""
    chosen: int | None
    """Number of the chosen one; None where pictures blew up in every one."""


def calibration(
    config: CalibrationConfig, results: Mapping[Setting, Sequence[GroupResult]], names: Mapping[Setting, Sequence[str]]
) -> Calibration:
    """The content of report.json.

    config: the settings.
    results: of each setting, one per prompt, the stock model first.
    names: of the groups, as the results.
    """
    tried = [_tried(of_setting) for of_setting in results.values()]
    on_the_front = front(tried)
    return Calibration(
        model=config.run.model.path,
        scorer=config.run.scoring.model,
        prompts=tuple(one.prompt for one in next(iter(results.values()))),
        group_size=config.run.group.size,
        settings=tuple(
            _setting(setting, of_setting, names[setting], one, tried[0], on_the_front=here)
            for (setting, of_setting), one, here in zip(results.items(), tried, on_the_front, strict=True)
        ),
        rule=f"{RULES[config.grid.prefer]}: {HOW}",
        chosen=choose(tried, config.grid.prefer),
    )


def _tried(results: Sequence[GroupResult]) -> Tried:
    return Tried(
        match=_of(results, lambda one: one.match),
        diversity=np.array([one.pair_vendi for one in results]),
        blew_up=sum(one.blew_up for one in results),
    )


def _of(results: Sequence[GroupResult], values: Callable[[GroupResult], Sequence[float]]) -> list[Floats]:
    return [np.array(values(one), dtype=np.float64) for one in results]


def _setting(
    setting: Setting,
    results: Sequence[GroupResult],
    names: Sequence[str],
    tried: Tried,
    stock: Tried,
    *,
    on_the_front: bool,
) -> SettingResult:
    whole, paired = not tried.blew_up, not tried.blew_up and not stock.blew_up and tried is not stock
    edits = {name: _over_groups(results, name) for name in dict.fromkeys(n for one in results for n in one.edits)}
    images = sum(len(one.scores) for one in results)
    margins = [values for values in _of(results, lambda one: one.margins) if len(values)]
    return SettingResult(
        **asdict(setting),
        name=setting.name,
        match=bootstrap(tried.match) if whole else None,
        score=bootstrap(_of(results, lambda one: one.scores)) if whole else None,
        margin=bootstrap(margins) if whole and margins else None,
        pair_vendi=bootstrap(list(tried.diversity[:, None])) if whole else None,
        match_difference=bootstrap(_differences(tried.match, stock.match)) if paired else None,
        pair_vendi_difference=bootstrap(list((tried.diversity - stock.diversity)[:, None])) if paired else None,
        blew_up=tried.blew_up / len(results),
        seconds_per_image=sum(one.seconds for one in results if not one.blew_up) / max(1, images),
        edits=edits,
        eta={at.block: setting.strength * at.square for at in edits.get("repulsion", ()) if setting.strength},
        on_the_front=on_the_front,
        groups=tuple(names),
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
