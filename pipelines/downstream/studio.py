"""Draws the pictures of each arm, judges them, and keeps both in files, so that the same command goes on where it was
stopped. A round is a group of every concept; a file holds one round of an arm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.embedded.measures import success
from models.embedded.oracle import Oracle
from models.embedded.passes import counted
from models.embedded.pictures import pictures
from models.generator import Generator
from models.scorers import registry
from models.scorers.base import GroupScores, ImageGroup, Scorer
from models.seeds import image_seed
from models.spec import PLACES
from pipelines.dataset.storage import Storage
from pipelines.downstream import renders
from pipelines.downstream.concepts import Concept
from pipelines.downstream.config import Arm, DownstreamConfig
from pipelines.downstream.pool import Pool


class Studio:
    """All pictures of an experiment. Models are loaded when something is missing that they make.

    config: with the revisions of model and scorer.
    output: folder of the experiment.
    """

    def __init__(self, config: DownstreamConfig, output: Storage) -> None:
        self._config, self._output = config, output
        self._judges = [asdict(config.scorer), hashlib.sha256(Path(config.oracle).read_bytes()).hexdigest()]

    def drawn(self, arm: Arm, concepts: Sequence[Concept]) -> Pool:
        """What an arm draws of each concept, `draw_times` as many pictures as `made.drawn_each`.

        arm: how.
        concepts: of what.
        """
        made, sampling = self._config.made, arm.own_sampling.of(self._config.sampling)
        model = {key: value for key, value in asdict(self._config.model).items() if key not in PLACES}
        of = {
            "model": model,
            "arm": arm.settings(),
            "sampling": sampling.settings(pictures=False),
            "groups": [made.group_size, made.groups_per_batch, made.seed],
            "prompts": [concept.prompt.prompt for concept in concepts],
        }
        parts, rounds = [], range(arm.draw_times * made.drawn_each // made.group_size)
        for number in tqdm(rounds, desc=arm.name, unit="round", dynamic_ncols=True):
            file = self._file(of | {"round": number})
            if not self._output.exists(file):
                with counted(self._generator.transformer) as count:
                    groups = pictures(
                        self._generator,
                        [concept.prompt.prompt for concept in concepts],
                        sampling,
                        images=made.group_size,
                        groups_per_batch=made.groups_per_batch,
                        run_seed=image_seed(made.seed, "round", number),
                        interventions=arm.interventions,
                        expand=arm.expand,
                    )
                    drawn = np.stack(list(groups))
                self._save(file, self._judged(concepts, drawn, count.passes / drawn[..., 0, 0, 0].size))
            parts.append(self._load(file))
        return Pool.joined(parts)

    def rendered(self, concepts: Sequence[Concept], each: int, purpose: str) -> Pool:
        """Real pictures of each concept.

        concepts, each, purpose: as for `renders.of_concept`.
        """
        file = self._file({"renders": purpose, "each": each, "prompts": [one.prompt.prompt for one in concepts]})
        if not self._output.exists(file):
            drawn = np.stack([renders.of_concept(concept, each, purpose) for concept in concepts])
            self._save(file, self._judged(concepts, drawn, 0.0))
        return self._load(file)

    @cached_property
    def _generator(self) -> Generator:
        return Generator(self._config.model)

    @cached_property
    def _scorer(self) -> Scorer:
        return registry.open_scorer(self._config.scorer, "auto")

    @cached_property
    def _oracle(self) -> Oracle:
        return Oracle(Path(self._config.oracle))

    def _judged(self, concepts: Sequence[Concept], drawn_CPHWC: NDArray[np.uint8], passes: float) -> Pool:
        """Pictures with what scorer and oracle say of them. passes: of each picture."""
        scores: list[GroupScores] = []
        right: list[NDArray[np.bool_]] = []
        for concept, drawn_PHWC in zip(concepts, drawn_CPHWC, strict=True):
            text = concept.prompt
            group = ImageGroup(pixels_BHWC=drawn_PHWC, prompt=text.prompt, counterfactual=text.counterfactual)
            scores += self._scorer.score([group])
            right.append(success(text.prompt, self._oracle.read(drawn_PHWC)) > 0)
        unknown_P = np.full(drawn_CPHWC.shape[1], np.nan, np.float32)
        vectors = [score.features_BD for score in scores if score.features_BD is not None]
        return Pool(
            pictures_CPHWC=drawn_CPHWC,
            score_CP=np.stack([score.score_B for score in scores]),
            margin_CP=np.stack([unknown_P if score.margin_B is None else score.margin_B for score in scores]),
            vectors_CPD=np.stack(vectors),
            right_CP=np.stack(right),
            passes_P=np.full(drawn_CPHWC.shape[1], passes),
        )

    def _file(self, of: dict[str, Any]) -> str:
        text = json.dumps([of, self._judges], sort_keys=True)
        return f"pictures/{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.npz"

    def _save(self, file: str, pool: Pool) -> None:
        with self._output.open_output(file) as opened:
            np.savez(opened, **{field.name: getattr(pool, field.name) for field in fields(Pool)})

    def _load(self, file: str) -> Pool:
        with self._output.open_input(file) as opened, np.load(opened) as arrays:
            return Pool(**dict(arrays))
