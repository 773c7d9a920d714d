"""A world for runs with quotas, without any model: what a picture shows is a number, its mode. How many modes a concept
has, which arms find them and how often the judge lets a picture pass is known."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from PIL import Image

from models.errors import PromptError
from pipelines.config.fingerprint import fingerprint
from pipelines.config.run import RunConfig
from pipelines.dataset import retry, schema
from pipelines.dataset.failures import Failure, failed_rows
from pipelines.dataset.progress_json import Quotas
from pipelines.dataset.run_json import PlanCounts
from pipelines.dataset.storage import Storage
from pipelines.flows.fill import fill
from pipelines.flows.synth import FOLDERS, pending_shards
from pipelines.plan.files import read_shard
from pipelines.stages.block import Shard, pack
from pipelines.stages.write import write_shard
from tests.conftest import build

T = TypeVar("T")
R = TypeVar("R")

DIM = 32


@dataclass(frozen=True, kw_only=True)
class Concept:
    """How a concept behaves."""

    modes: int = 20
    """Different pictures that there are of it."""
    passes: dict[str, float] = field(default_factory=dict)
    """Arm -> share of its images that the judge lets pass; 1 for those that are not named."""
    reach: dict[str, int] = field(default_factory=dict)
    """Arm -> how many of the modes it ever shows; all for those that are not named."""


PROMPTS = {"easy": ["an easy thing", "some easy thing"], "poor": ["a poor thing"], "never": ["a thing that never is"]}
WORLD = {
    "easy": Concept(modes=200),
    "poor": Concept(modes=6),
    "never": Concept(passes={"base": 0.0, "tora": 0.0}),
}


@dataclass
class World:
    """Draws and commits shards.

    Groups whose prompt holds "fails" fail unless they are made again.
    """

    config: RunConfig
    concepts: dict[str, Concept] = field(default_factory=dict)
    images: int = 0
    """Images made so far."""
    told: list[Quotas | None] = field(default_factory=list)
    """What was known of the quotas before each round."""

    def __post_init__(self) -> None:
        self._fingerprint = fingerprint(self.config)

    def make(self, counts: PlanCounts, quotas: Quotas | None = None) -> None:
        output = Storage.open(self.config.run.output)
        self.told.append(quotas)
        for request in pending_shards(output, counts):
            write_shard(self.shard(output, request), output)

    def map_shards(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
        return map(function, items)

    def shard(self, output: Storage, request: dict[str, Any]) -> pa.Table:
        planned = read_shard(output, request["shard"])
        if request["retry"]:
            planned = retry.only_failed(output, request["shard"], planned)
        rows: list[dict[str, Any]] = []
        bad = []
        for group in planned.drop_columns(["shard"]).to_pylist():
            if "fails" in group["prompt"] and not request["retry"]:
                named = {name: group[name] for name in ("group_id", "prompt_id", "prompt", "arm")}
                bad.append((named, Failure(error_type=PromptError.__name__, error="it fails")))
            else:
                rows += [self._row(group, index) for index in range(len(group["group_seeds"]))]
        self.images += len(rows)
        images = pa.Table.from_pylist(rows, schema.scored(DIM))
        failed = failed_rows("generate", bad)
        return pack(Shard(shard=request["shard"], retry=request["retry"], images=images, failed=failed))

    def _row(self, group: dict[str, Any], index: int) -> dict[str, Any]:
        seed = group["group_seeds"][index]
        concept = self.concepts.get(group["concept"], Concept())
        rng = np.random.default_rng([seed, group["arm"].encode()[0]])
        mode = int(rng.integers(min(concept.modes, concept.reach.get(group["arm"], concept.modes))))
        passes = rng.random() < concept.passes.get(group["arm"], 1.0)
        centre = np.random.default_rng([mode, *hashlib.sha256(str(group["concept"]).encode()).digest()[:4]])
        vector = centre.normal(size=DIM)
        vector = vector / np.linalg.norm(vector) + 0.005 * rng.normal(size=DIM)
        return {
            **group,
            "image": {"bytes": picture(mode), "path": f"{seed}.png"},
            "image_id": f"{group['group_id']}{index:016x}",
            "index_in_group": index,
            "group_size": len(group["group_seeds"]),
            "seed": seed,
            **dict.fromkeys(("model", "model_revision", "family", "dtype", "scheduler", "clip_model"), "x"),
            "displacement": {},
            "model_options": {},
            "fingerprint": self._fingerprint,
            "clip_score": 0.5,
            "rank_in_group": index + 1,
            "group_vendi": 1.0,
            "embedding": (vector / np.linalg.norm(vector)).astype(np.float16),
            "keep": passes,
            "drop_reason": None if passes else "margin",
        }


def picture(mode: int) -> bytes:
    """A small picture of a mode."""
    shade = np.random.default_rng(mode).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(shade).resize((32, 32), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def configured(folder: Path, prompts: dict[str, list[str]], quota: dict[str, Any], **tables: Any) -> RunConfig:
    """A run with quotas, its output in `folder/out`.

    prompts: concept -> its prompts.
    """
    path = folder / "prompts.csv"
    lines = [f"{prompt},{concept}\n" for concept, of_concept in prompts.items() for prompt in of_concept]
    path.write_text("prompt,concept\n" + "".join(lines))
    arms = [{"name": "base"}, {"name": "tora", "tora": True}]
    given = {"arms": arms, "group": {"size": 4}, "output": {"groups_per_shard": 3}, "quota": quota}
    return build(**{**given, **tables}, run={"output": str(folder / "out")}, prompts={"path": str(path)})


def filled(config: RunConfig, concepts: dict[str, Concept] | None = None, **options: Any) -> World:
    """The run with quotas, made in this process as `pipelines.flows.synth.run` makes it."""
    output = Storage.open(config.run.output)
    world = World(config, concepts or {})
    for folder in FOLDERS:
        output.sweep(folder)
    fill(config, output, world, **options)
    return world
