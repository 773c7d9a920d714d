"""Draws and scores the groups of a calibration that are not made yet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from tqdm import tqdm

from models.drawn import Drawn
from models.generator import Generator
from models.hooks.likeness import likeness
from models.scorers.base import ImageGroup
from models.seeds import image_seed
from models.spec import Group
from pipelines.calibration.config import CalibrationConfig
from pipelines.calibration.results import GroupResult, find, made_of, result_of, write
from pipelines.calibration.stages import Setting
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
    """Point of a stage."""
    prompt: PromptRow
    """What is drawn."""
    group: Group
    """The input of the generator."""


def planned(config: CalibrationConfig, settings: Sequence[Setting], prompts: Sequence[PromptRow]) -> list[Planned]:
    """The groups of a stage, setting after setting; settings share prompts and seeds.

    config: the settings, with the revisions of the models.
    settings: the points of the stage.
    prompts: two or more.
    """
    run, found = config.run, []
    for setting in settings:
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


@dataclass(kw_only=True, eq=False)
class Maker:
    """The models of a calibration, which are loaded when the first group is missing."""

    config: CalibrationConfig
    """The settings."""
    output: Storage
    """The folder of the calibration."""

    @cached_property
    def generator(self) -> Generator:
        """Draws."""
        return Generator(self.config.run.model)

    @cached_property
    def judge(self) -> Judge:
        """Scores."""
        return Judge(self.config.run.scoring, "auto" if self.generator.info.device != "cpu" else "cpu")

    def make_missing(self, groups: Sequence[Planned]) -> None:
        """Make the groups without a result; each is written when it is made.

        groups: all groups of a stage.

        Raises:
            UserError: when a prompt cannot be drawn.
            ModelError: when the model or the scorer cannot be loaded.
        """
        missing = [one for one in groups if find(self.output, one.name) is None]
        if not missing:
            return
        seconds: dict[int, float] = {}

        @contextmanager
        def around(batch: Sequence[int]) -> Iterator[OnStep]:
            began = time.perf_counter()
            yield lambda *_: None
            seconds.update(dict.fromkeys(batch, (time.perf_counter() - began) / len(batch)))

        inputs = [one.group for one in missing]
        packs = packs_of_equal((group.batch_key for group in inputs), self.config.run.group.groups_per_batch)
        make = partial(self.generator.draw, measure=likeness)
        with tqdm(total=len(groups), initial=len(groups) - len(missing), unit="group", dynamic_ncols=True) as bar:
            for number, drawn in draw(make, inputs, packs, around):
                bar.set_description(missing[number].setting.name)
                self._commit(missing[number], drawn, seconds.get(number, 0.0))
                bar.update()

    def _commit(self, one: Planned, drawn: Drawn | Failure, seconds: float) -> None:
        if isinstance(drawn, Failure):
            if drawn.error_type not in _BLEW_UP:
                raise UserError(f"{one.setting.name}, prompt {one.group.prompt!r}: {drawn.error_type}: {drawn.error}")
            result = GroupResult(prompt=one.group.prompt, blew_up=True, seconds=seconds, edits={})
        else:
            counterfactual = one.prompt.counterfactual
            pixels, frames = videos.for_scorers(drawn.pixels, self.config.run.scoring.frames)
            text = one.group.prompt
            group = ImageGroup(pixels_BHWC=pixels, prompt=text, counterfactual=counterfactual, frames=frames)
            result = result_of(text, self.judge([group])[0], drawn.edits, seconds)
            shown, _ = videos.for_scorers(drawn.pixels, 1)  # of videos the middle frames
            self.output.write_bytes(picture_of(one.name), encode(np.concatenate(list(shown), axis=1), "png").data)
        write(self.output, one.name, result)


def picture_of(name: str) -> str:
    """The file with the pictures of a group side by side, relative to the folder of the calibration.

    name: of the group.
    """
    return f"images/{name}.png"
