"""Makes the pictures of every arm and reads them with the oracle. What an arm made of a set of prompts with a seed is a
file; the same command continues with those that are missing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from models.embedded import measures
from models.embedded.oracle import Oracle
from models.embedded.passes import counted
from models.generator import Generator
from models.loading.dtype import resolved, slowness
from models.loading.revision import pinned
from models.scorers.clip import ClipScorer
from models.seeds import image_seed
from pipelines.dataset import owned
from pipelines.dataset.images import encode
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.evaluation.arm_files import ArmFiles, Made
from pipelines.evaluation.config import Arm, EvaluationConfig
from pipelines.evaluation.frontier import figure
from pipelines.evaluation.make import Maker
from pipelines.evaluation.markdown import markdown
from pipelines.evaluation.page import page
from pipelines.evaluation.prompts import PromptSet, prompt_sets
from pipelines.evaluation.report import ArmReadings, report

FILE = "evaluation.json"
_SHEETS_PER_SET = 4
_REAL_PER_PROMPT = 8


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """The inputs that all arms share."""

    config: EvaluationConfig
    files: ArmFiles
    sets: list[PromptSet]
    oracle: Oracle


def run(config: EvaluationConfig) -> str:
    """Make what is missing, write report.json, report.md, report.html and figure.svg, and return the path of the page.

    Raises:
        UserError: when the model's or the oracle's files are missing, or the output folder is not an evaluation's.
    """
    model, oracle = Path(config.model.path), Path(config.oracle)
    for path, key in ((model / "model_index.json", "model.path"), (oracle, "oracle")):
        if not path.is_file():
            raise UserError(f"{key}: {path} does not exist; train it with jobs/train_embedded.py or name another")
    gpus = torch.cuda.is_available()
    config = replace(config, model=resolved(pinned(config.model), gpus=gpus))
    if slow := slowness(config.model, gpus=gpus):
        print(f"warning: {slow}", file=sys.stderr)
    output = Storage.open(config.output)
    owned.claim(output, FILE, config.name, setting="output")
    revision = config.model.revision + hashlib.sha256(oracle.read_bytes()).hexdigest()[:16]
    setting = _Setting(
        config=config,
        files=ArmFiles(config=config, output=output, revision=revision),
        sets=prompt_sets(config.prompts),
        oracle=Oracle(oracle),
    )
    _make(setting)
    real = {one.name: [_real(setting, one, seed) for seed in config.prompts.seeds] for one in setting.sets}
    readings = {arm.name: _load(setting, arm) for arm in config.all_arms}
    result = report(config, setting.sets, readings, real) | {"revision": revision}
    output.write_bytes("report.json", (json.dumps(result, indent=1) + "\n").encode())
    output.write_bytes("report.md", markdown(config.name, result).encode())
    if drawn := figure(result):
        output.write_bytes("figure.svg", drawn.encode())
    output.write_bytes("report.html", page(config.name, result, output).encode())
    return output.path("report.html")


def _make(setting: _Setting) -> None:
    config = setting.config
    every = [(arm, one, seed) for seed in config.prompts.seeds for arm in config.all_arms for one in setting.sets]
    # Arms of different questions may have the same settings, and share their files.
    distinct = {setting.files.name(*what): what for what in every}
    missing = [what for what in distinct.values() if not setting.files.is_done(*what)]
    if not missing:
        return
    scorer = ClipScorer(config.scorer) if config.scorer else None
    maker = Maker(config=config, generator=Generator(config.model), scorer=scorer)
    total = sum(len(one.prompts) * one.images for _, one, _ in missing)
    with tqdm(total=total, unit="picture", dynamic_ncols=True, mininterval=1) as bar:
        for arm, one, seed in missing:
            bar.set_description(f"{arm.name} ({one.name}, seed {seed})")
            parts = []
            with counted(maker.generator.transformer) as count:
                for images in maker.pictures(arm, one, seed):
                    parts.append((images, setting.oracle.read(images)))
                    bar.update(len(images))
            setting.files.save(arm, one, seed, parts, count.passes)


def _load(setting: _Setting, arm: Arm) -> ArmReadings:
    """What an arm made; also writes its sheets of pictures, of the first seed."""
    made: dict[str, list[Made]] = {}
    sheets: dict[str, str] = {}
    for one in setting.sets:
        for seed in setting.config.prompts.seeds:
            found, images = setting.files.load(arm, one, seed)
            made.setdefault(one.name, []).append(found)
            if seed == setting.config.prompts.seeds[0]:
                stem = setting.files.stem(arm, one, seed)
                # The larger group of an open prompt is shown in place of the smaller one.
                sheets |= {
                    prompt: _sheet(setting, f"{stem}-{number}.png", images[number])
                    for number, prompt in enumerate(one.prompts[:_SHEETS_PER_SET])
                }
    return ArmReadings(made=made, sheets=sheets)


def _sheet(setting: _Setting, name: str, images: NDArray[np.uint8]) -> str:
    """A group side by side as a PNG under `images/`; returns its name."""
    setting.files.output.write_bytes(f"images/{name}", encode(np.concatenate(list(images), axis=1), "png"))
    return name


def _real(setting: _Setting, one: PromptSet, seed: int) -> Made:
    """The oracle's readings of real renders for each prompt of a set, as many as of pictures, but no fewer than the
    kernel distance needs."""
    count = max(_REAL_PER_PROMPT, one.images)
    renders = (
        measures.real_pictures(prompt, count, np.random.default_rng(image_seed(seed, prompt, -1)))
        for prompt in one.prompts
    )
    return Made(readings=[setting.oracle.read(pictures) for pictures in renders], passes=0.0)
