"""Draws and scores the groups of a calibration that are not made yet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from tqdm import tqdm

from models.generator import Drawn, Generator
from models.hooks.likeness import likeness
from models.scorers.base import ImageGroup
from models.seeds import image_seed
from models.spec import Group
from pipelines.calibration.config import CalibrationConfig, Setting
from pipelines.calibration.results import GroupResult, find, made_of, result_of, write
from pipelines.dataset import videos
from pipelines.dataset.failures import Failure
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.prompts.rows import PromptRow
from pipelines.stages.draw import OnStep, draw, encode
from pipelines.stages.isolate import packs_of_equal
from pipelines.stages.judge import Judge

_BLEW_UP = ("ImageError", "BlankImage")
"""Failures of a setting, not of a prompt."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A group of the calibration."""

    name: str
    """As `made_of` gives it."""
    setting: Setting
    """Point of the grid."""
    prompt: PromptRow
    """What is drawn."""
    group: Group
    """The input of the generator."""


def planned(config: CalibrationConfig, prompts: Sequence[PromptRow]) -> list[Planned]:
    """All groups, setting after setting; settings share prompts and seeds.

    config: the settings, with the revisions of the models.
    prompts: two or more.
    """
    run, found = config.run, []
    for setting in config.settings():
        for prompt in prompts:
            group = Group(
                prompt=prompt.prompt,
                seeds=tuple(image_seed(run.run.seed, prompt.prompt_id, index) for index in range(run.group.size)),
                sampling=run.sampling,
                interventions=config.drawn_with(setting),
            )
            name = made_of(run, group, prompt.counterfactual)
            found.append(Planned(name=name, setting=setting, prompt=prompt, group=group))
    return found


def make_missing(config: CalibrationConfig, output: Storage, groups: Sequence[Planned]) -> None:
    """Make the groups without a result; each is written when it is made.

    config: the settings.
    output: the folder of the calibration.
    groups: all groups.

    Raises:
        UserError: when a prompt cannot be drawn.
        ModelError: when the model or the scorer cannot be loaded.
    """
    missing = [one for one in groups if find(output, one.name) is None]
    if not missing:
        return
    generator = Generator(config.run.model)
    judge = Judge(config.run.scoring, "auto" if generator.info.device != "cpu" else "cpu")
    seconds: dict[int, float] = {}

    @contextmanager
    def around(batch: Sequence[int]) -> Iterator[OnStep]:
        began = time.perf_counter()
        yield lambda *_: None
        seconds.update(dict.fromkeys(batch, (time.perf_counter() - began) / len(batch)))

    inputs = [one.group for one in missing]
    packs = packs_of_equal((group.batch_key for group in inputs), config.run.group.groups_per_batch)
    with tqdm(total=len(groups), initial=len(groups) - len(missing), unit="group", dynamic_ncols=True) as bar:
        for number, drawn in draw(partial(generator.draw, measure=likeness), inputs, packs, around):
            bar.set_description(missing[number].setting.name)
            _commit(config, output, missing[number], drawn, judge, seconds.get(number, 0.0))
            bar.update()


def _commit(
    config: CalibrationConfig, output: Storage, one: Planned, drawn: Drawn | Failure, judge: Judge, seconds: float
) -> None:
    if isinstance(drawn, Failure):
        if drawn.error_type not in _BLEW_UP:
            raise UserError(f"{one.setting.name}, prompt {one.group.prompt!r}: {drawn.error_type}: {drawn.error}")
        result = GroupResult(prompt=one.group.prompt, blew_up=True, seconds=seconds, edits={})
    else:
        counterfactual = one.prompt.counterfactual
        pixels, frames = videos.for_scorers(drawn.pixels, config.run.scoring.frames)
        text = one.group.prompt
        group = ImageGroup(pixels_BHWC=pixels, prompt=text, counterfactual=counterfactual, frames=frames)
        result = result_of(text, judge([group])[0], drawn.edits, seconds)
        shown, _ = videos.for_scorers(drawn.pixels, 1)  # of videos the middle frames
        output.write_bytes(picture_of(one.name), encode(np.concatenate(list(shown), axis=1), "png").data)
    write(output, one.name, result)


def picture_of(name: str) -> str:
    """The file with the pictures of a group side by side, relative to the folder of the calibration.

    name: of the group.
    """
    return f"images/{name}.png"
