"""Makes the pictures of every arm and reads them with the oracle. A finished arm is a file; the same command continues
with the arms that are missing."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from models.embedded import measures
from models.embedded.oracle import Oracle, Reading
from models.embedded.pictures import pictures
from models.generator import Generator
from models.loading.dtype import resolved, slowness
from models.loading.revision import pinned
from models.seeds import image_seed
from models.spec import PLACES, ModelSpec
from pipelines.dataset import owned
from pipelines.dataset.images import encode
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.evaluation.config import Arm, EvaluationConfig
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
    output: Storage
    sets: list[PromptSet]
    oracle: Oracle
    revision: str


def run(config: EvaluationConfig) -> str:
    """Make the missing arms, write `report.json`, `report.md` and `report.html`, and return the path of the last.

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
    setting = _Setting(
        config=config,
        output=output,
        sets=prompt_sets(config.prompts),
        oracle=Oracle(oracle),
        revision=config.model.revision + hashlib.sha256(oracle.read_bytes()).hexdigest()[:16],
    )
    missing = [arm for arm in config.all_arms if not _is_done(setting, arm)]
    if missing:
        _make(setting, missing)
    real = _real(setting)
    readings = {arm.name: _load(setting, arm) for arm in config.all_arms}
    result = report(config, setting.sets, readings, real) | {"revision": setting.revision}
    output.write_bytes("report.json", (json.dumps(result, indent=1) + "\n").encode())
    output.write_bytes("report.md", markdown(config.name, result).encode())
    output.write_bytes("report.html", page(config.name, result, output).encode())
    return output.path("report.html")


def _make(setting: _Setting, arms: Sequence[Arm]) -> None:
    groups = sum(len(one.prompts) for one in setting.sets)
    generator = Generator(setting.config.model)
    with tqdm(total=groups * len(arms), unit="group", dynamic_ncols=True, mininterval=1) as bar:
        for arm in arms:
            bar.set_description(arm.name)
            parts = []
            for one in setting.sets:
                for images in _pictures(generator, setting.config, arm, one.prompts):
                    reading = setting.oracle.read(images)
                    parts.append((images, reading))
                    bar.update()
            _save(setting, arm, parts)


def _pictures(
    generator: Generator, config: EvaluationConfig, arm: Arm, prompts: Sequence[str]
) -> Iterator[NDArray[np.uint8]]:
    sampling = config.sampling
    if arm.guidance_scale is not None:
        sampling = replace(sampling, guidance_scale=arm.guidance_scale)
    return pictures(
        generator,
        prompts,
        sampling,
        images=config.prompts.group_size,
        groups_per_batch=config.prompts.groups_per_batch,
        run_seed=config.prompts.seed,
        interventions=arm.interventions,
    )


def _file(setting: _Setting, arm: Arm) -> str:
    """The file of an arm, named by a hash of all settings that change its pictures."""
    made_of = {
        "arm": arm.settings(),
        "sampling": setting.config.sampling.settings(pictures=False),
        "prompts": [asdict(one) for one in setting.sets],
        "group": [setting.config.prompts.group_size, setting.config.prompts.seed],
        "model": [setting.revision, setting.config.model.dtype, *_loading(setting.config.model)],
    }
    digest = hashlib.blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"arms/{digest}.npz"


def _loading(model: ModelSpec) -> list[dict[str, Any]]:
    """How the model is loaded, where that is not as it is by default."""
    usual = asdict(ModelSpec(path=model.path, revision=model.revision, dtype=model.dtype))
    changed = {key: value for key, value in asdict(model).items() if key not in PLACES and value != usual[key]}
    return [changed] if changed else []


def _is_done(setting: _Setting, arm: Arm) -> bool:
    return setting.output.exists(_file(setting, arm))


def _save(setting: _Setting, arm: Arm, parts: list[tuple[NDArray[np.uint8], Reading]]) -> None:
    with setting.output.open_output(_file(setting, arm)) as file:
        np.savez(
            file,
            images=np.stack([images for images, _ in parts]),
            labels=np.stack([reading.labels for _, reading in parts]),
            confidence=np.stack([reading.confidence for _, reading in parts]),
            features=np.stack([reading.features for _, reading in parts]),
        )


def _load(setting: _Setting, arm: Arm) -> ArmReadings:
    """Readings per prompt; also writes the arm's sheets of pictures."""
    with setting.output.open_input(_file(setting, arm)) as file, np.load(file) as arrays:
        columns: dict[str, Any] = dict(arrays)
    readings = [
        Reading(labels=labels, confidence=confidence, features=features)
        for labels, confidence, features in zip(
            columns["labels"], columns["confidence"], columns["features"], strict=True
        )
    ]
    at = 0
    sheets = {}
    for one in setting.sets:
        for index in range(min(_SHEETS_PER_SET, len(one.prompts))):
            sheets[one.prompts[index]] = _sheet(setting, arm, one.prompts[index], columns["images"][at + index])
        at += len(one.prompts)
    return ArmReadings(readings=readings, sheets=sheets)


def _sheet(setting: _Setting, arm: Arm, prompt: str, images: NDArray[np.uint8]) -> str:
    """A group side by side as a PNG under `images/`; returns its name."""
    name = f"{Path(_file(setting, arm)).stem}-{hashlib.blake2b(prompt.encode(), digest_size=4).hexdigest()}.png"
    setting.output.write_bytes(f"images/{name}", encode(np.concatenate(list(images), axis=1), "png"))
    return name


def _real(setting: _Setting) -> list[Reading]:
    """The oracle's readings of real renders for each prompt."""
    count = max(_REAL_PER_PROMPT, setting.config.prompts.group_size)
    readings = []
    for one in setting.sets:
        for prompt in one.prompts:
            rng = np.random.default_rng(image_seed(setting.config.prompts.seed, prompt, -1))
            readings.append(setting.oracle.read(measures.real_pictures(prompt, count, rng)))
    return readings
