"""A calibration, top to bottom: config -> prompts -> stage by stage groups at every setting, measures and a choice ->
page and TOML."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pipelines.calibration import chosen, draw
from pipelines.calibration.config import CalibrationConfig
from pipelines.calibration.outcome import Outcome, outcome
from pipelines.calibration.page import page
from pipelines.calibration.report import FILE, Calibration, calibration
from pipelines.calibration.stages import STOCK
from pipelines.cluster.session import stoppable
from pipelines.dataset import owned, records
from pipelines.dataset.lock import RunLock
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import preflight
from pipelines.prompts.reading import read
from pipelines.prompts.rows import PromptRow
from pipelines.prompts.wanted import Wanted

PAGE, RECORD = "calibration.html", "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What a calibration found."""

    content: Calibration
    """report.json."""
    page: str
    """Path of the page."""
    beside: str
    """Path of the chosen settings as tables; "" where nothing was chosen."""
    owner: str
    """What these tables are to lie beside, in words."""
    run: str
    """Path of the chosen settings as a run; "" where nothing was chosen."""


def run(config: CalibrationConfig, output: Storage) -> Calibrated:
    """Make the groups that are missing, and write report.json, the page and the chosen settings.

    config: the settings.
    output: the folder of the calibration.

    Raises:
        UserError: when a setting or a prompt does not fit, or the folder is somebody else's.
    """
    config = replace(config, run=preflight.check(config.run))
    if config.run.prompts.columns.pictured:
        raise UserError("prompts.columns.source_image: a calibration draws new pictures and edits none; leave it out")
    prompts = _prompts(config)
    owned.claim(output, RECORD, config.run.run.name, setting="--output")
    with stoppable(), RunLock(output):
        outcomes = _outcomes(config, prompts, draw.Maker(config=config, output=output))
        content = calibration(config, outcomes)
        records.write(output, FILE, content)
        output.write_bytes(PAGE, page(content, output).encode())
        point, owner = outcomes[-1].chosen, chosen.owner(config)
        if point is None:
            return Calibrated(content=content, page=output.path(PAGE), beside="", owner=owner, run="")
        output.write_bytes(chosen.BESIDE, chosen.beside(config, point.setting).encode())
        output.write_bytes(chosen.RUN, chosen.run(config, point.setting).encode())
    return Calibrated(
        content=content,
        page=output.path(PAGE),
        beside=output.path(chosen.BESIDE),
        owner=owner,
        run=output.path(chosen.RUN),
    )


def _outcomes(config: CalibrationConfig, prompts: Sequence[PromptRow], maker: draw.Maker) -> list[Outcome]:
    """Every stage beside what the one before has chosen, up to one in which pictures blew up at every point."""
    outcomes: list[Outcome] = []
    beside = STOCK
    for number, stage in enumerate(config.stages):
        groups = draw.planned(config, config.settings(number, beside), prompts)
        maker.make_missing(groups)
        outcomes.append(outcome(stage, groups, maker.output))
        if (point := outcomes[-1].chosen) is None:
            break
        beside = point.setting
    return outcomes


def _prompts(config: CalibrationConfig) -> list[PromptRow]:
    """The first good prompts of the run."""
    wanted = Wanted(config.run.prompts.columns, settings=False)
    good = (row for row in read(config.run.prompts, wanted=wanted) if isinstance(row, PromptRow))
    found = list(islice(good, config.grid.prompts))
    if ignored := wanted.settings:
        print(f"warning: settings of rows do not act in a calibration: {', '.join(ignored)}", file=sys.stderr)
    if config.run.prompts.expand:
        print("warning: a calibration draws prompts as they are: prompts.expand does not act in it", file=sys.stderr)
    if len(found) < 2:
        raise UserError(f"{config.run.prompts.sources}: a calibration needs 2 good prompts or more")
    return found
