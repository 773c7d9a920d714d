"""A small finished run on disk: real pictures of the embedded world, invented embeddings, the project's own schema.

It stands in for a run of the job where a test is about what happens afterwards.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from models.diversity import nearest, pair_similarity, vendi
from models.embedded import world
from models.embedded.render import render
from models.embedded.world import Scene, Thing
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora.config import ToraConfig
from pipelines.dataset import run_json, schema, score_columns, videos
from pipelines.dataset.run_json import PlanCounts, PlanInputs, RunRecord, Segment
from pipelines.dataset.schema import FAILED, VERSION, scored
from pipelines.dataset.storage import Storage
from pipelines.dataset.videos import VideoFormat

Row = dict[str, Any]

DIM = 16
FRAMES, FPS = 9, 8
FINGERPRINT = hashlib.sha256(b"toy").hexdigest()
ARMS: dict[str, tuple[bool, bool]] = {
    "base": (False, False),
    "tora": (True, False),
    "repulsion": (False, True),
    "both": (True, True),
}
"""Arm -> (tora, repulsion)."""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """What a toy run holds. text: (index, prompt) -> the prompt to store, to slip in difficult text."""

    prompts: int = 8
    arms: tuple[str, ...] = tuple(ARMS)
    size: int = 4
    groups_per_prompt: int = 1
    prompts_per_shard: int = 3
    fail_every: int = 0
    """Every so many groups one fails; 0 for none."""
    bad_prompts: int = 0
    counterfactuals: bool = True
    side: int = 64
    videos: VideoFormat | None = None
    """What files the pictures are as videos, in which they move; None for pictures."""
    name: str = "Toy run"
    text: Callable[[int, str], str] = lambda _, prompt: prompt

    @property
    def schema(self) -> pa.Schema:
        """Of data/ and rejected/."""
        more = score_columns.over_time() if self.videos else []
        return scored(DIM, more, schema.generated(videos=self.videos) if self.videos else None)


def write_run(folder: Path | str, toy: Toy = Toy()) -> Storage:
    """Write run.json, plan/, data/, rejected/ and failed/ below `folder`."""
    output = Storage.open(folder)
    rng = np.random.default_rng(0)
    prompts = [_prompt(toy, index) for index in range(toy.prompts)]
    plan = pa.BufferOutputStream()
    made = 0
    with pq.ParquetWriter(plan, schema.plan()) as writer:
        for shard, start in enumerate(range(0, len(prompts), toy.prompts_per_shard)):
            planned = [
                {"shard": shard, **group}
                for _, prompt in prompts[start : start + toy.prompts_per_shard]
                for group in _groups(toy, prompt)
            ]
            writer.write_table(pa.Table.from_pylist(planned, schema=schema.plan()))
            scenes = {prompt["prompt_id"]: scene for scene, prompt in prompts}
            images: list[Row] = []
            failed: list[Row] = []
            for group in planned:
                made += 1
                if toy.fail_every and made % toy.fail_every == 0:
                    failed.append(_failure(group))
                else:
                    images += _images(toy, group, scenes[group["prompt_id"]], rng)
            _write_shard(output, shard, images, failed, toy.schema)
    output.write_bytes("plan/plan-000000.parquet", plan.getvalue().to_pybytes())
    if toy.bad_prompts:
        rows = [_bad_prompt(i) for i in range(toy.bad_prompts)]
        _write(output, "failed/prompts.parquet", rows, FAILED)
    shards = -(-len(prompts) // toy.prompts_per_shard)
    counts = PlanCounts(
        prompts=toy.prompts,
        bad_prompts=toy.bad_prompts,
        dropped=0,
        groups=made,
        images=made * toy.size,
        segments=(Segment(first=0, shards=shards),),
    )
    inputs = PlanInputs(prompt_files=(), format="auto", limit=0, groups_per_prompt=toy.groups_per_prompt)
    record = RunRecord(
        schema_version=VERSION,
        fingerprint=FINGERPRINT,
        config={
            "run": {"name": toy.name, "output": "out/toy", "seed": 0},
            "model": {"path": "owner/toy"},
            "arms": [{"name": arm} for arm in toy.arms],
        },
        libraries={},
        plan=counts,
        plan_made_from=inputs,
    )
    run_json.write(output, record)
    return output


def _prompt(toy: Toy, index: int) -> tuple[Scene, Row]:
    """A prompt that names a shape with a colour of each rarity in turn."""
    rarity = ("common", "uncommon", "rare", "unseen")[index % 4]
    shape = world.SHAPES[(index * 5) % len(world.SHAPES)]
    colours = [c for c in world.COLOURS if world.attribute_rarity(shape, "colour", c) == rarity]
    colour = colours[index % len(colours)]
    texture = world.TEXTURES[index % len(world.TEXTURES)]
    scene = Scene(
        arrangement="single",
        things=(Thing(shape=shape, colour=colour, texture=texture),),
        background=world.BACKGROUNDS[index % len(world.BACKGROUNDS)],
        size="large",
        position="center",
    )
    prompt = f"a {texture} {colour} {shape} on {scene.background}"
    typical = world.most_typical(shape, "colour")
    return scene, {
        "prompt_id": f"p{index:05d}",
        "prompt": toy.text(index, prompt),
        "concept": f"{colour} {shape}",
        "rarity": rarity,
        "counterfactual": prompt.replace(colour, typical) if toy.counterfactuals and rarity != "common" else None,
    }


def _groups(toy: Toy, prompt: Row) -> Iterator[Row]:
    for repeat in range(toy.groups_per_prompt):
        for arm in toy.arms:
            tora, repulsion = ARMS[arm]
            yield {
                "group_id": hashlib.sha256(f"{prompt['prompt_id']}/{repeat}/{arm}".encode()).hexdigest()[:16],
                **prompt,
                "arm": arm,
                "group_seeds": [2**62 + 1000 * repeat + i for i in range(toy.size)],
                "steps": 28,
                "guidance_scale": 4.5,
                "width": toy.side,
                "height": toy.side,
                "negative_prompt": "",
                "max_sequence_length": 0,
                "frames": FRAMES if toy.videos else 1,
                "loras": [],
                "tora": asdict(ToraConfig()) if tora else None,
                "repulsion": asdict(RepulsionConfig()) if repulsion else None,
            }


def _images(toy: Toy, group: Row, scene: Scene, rng: np.random.Generator) -> Iterator[Row]:
    """A group whose spread and scores depend on its arm, so that the arms differ as they should; last image dropped."""
    tora, repulsion = ARMS[group["arm"]]
    centre = rng.normal(size=DIM)
    vectors = centre + (0.9 if repulsion else 0.45) * rng.normal(size=(toy.size, DIM))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    hard = {"common": 0.0, "uncommon": 0.02, "rare": 0.07, "unseen": 0.1}[group["rarity"]]
    scores = 0.33 - hard * (0.4 if tora else 1.0) + 0.015 * rng.normal(size=toy.size)
    order = np.argsort(-scores)
    near, _ = nearest(unit) if toy.size > 1 else (None, None)
    ids = [f"{group['group_id']}-{i}" for i in range(toy.size)]
    for i in range(toy.size):
        rank = int(np.flatnonzero(order == i)[0]) + 1
        dropped = toy.size > 1 and rank == toy.size
        duplicate = dropped and group["rarity"] == "common"
        reason = ("duplicate" if duplicate else "rank") if dropped else None
        yield {
            **group,
            "image": {"bytes": _file(toy, _picture(toy, scene, group, rng)), "path": f"{ids[i]}.{toy.videos or 'png'}"},
            "image_id": ids[i],
            "index_in_group": i,
            "group_size": toy.size,
            "seed": group["group_seeds"][i],
            "displacement": {"tora": 0.25 + 0.01 * i if tora else None, "repulsion": 0.5 if repulsion else None},
            "tokens_cut": {"text_encoder": 0, "text_encoder_2": 0, "text_encoder_3": None},
            "negative_tokens_cut": {"text_encoder": 0, "text_encoder_2": 0, "text_encoder_3": None},
            "model": "models/embedded/weights/pipeline",
            "model_revision": "",
            "family": "sd3",
            "dtype": "float32",
            "model_options": {"weights": "dtype", "vae_slicing": True, "vae_tiling": False, "compile": False},
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            "fingerprint": FINGERPRINT,
            "clip_model": "toy",
            "clip_score": float(scores[i]),
            "clip_margin": None if group["counterfactual"] is None else float(scores[i] - 0.27),
            "clip_margin_missing": None,
            "clip_tokens_cut": {"prompt": 0, "counterfactual": None if group["counterfactual"] is None else 0},
            "rank_in_group": rank,
            "group_vendi": vendi(unit),
            "group_pair_similarity": pair_similarity(unit) if toy.size > 1 else None,
            "nearest_similarity": float(near[i]) if near is not None else None,
            "duplicate_of": ids[int(order[0])] if duplicate else None,
            "embedding": unit[i].astype(np.float16),
            "keep": not dropped,
            "drop_reason": reason,
            **({"fps": FPS, "temporal_consistency": 0.9} if toy.videos else {}),
        }


def _file(toy: Toy, picture: Image.Image) -> bytes:
    if toy.videos:
        pixels = np.asarray(picture)
        moving = np.stack([np.roll(pixels, 3 * number, axis=1) for number in range(FRAMES)])
        return videos.encode(moving, toy.videos, FPS)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _picture(toy: Toy, scene: Scene, group: Row, rng: np.random.Generator) -> Image.Image:
    """Without repulsion the place hardly changes; without TORA a rare colour often falls back to the typical one."""
    tora, repulsion = ARMS[group["arm"]]
    thing = scene.things[0]
    if group["rarity"] in ("rare", "unseen") and rng.random() < (0.25 if tora else 0.75):
        colour = world.most_typical(thing.shape, "colour")
        thing = Thing(shape=thing.shape, colour=colour, texture=thing.texture)
    drawn = Scene(
        arrangement="single",
        things=(thing,),
        background=scene.background,
        size=str(rng.choice(world.SIZES)) if repulsion else "large",
        position=str(rng.choice(world.POSITIONS)) if repulsion else "center",
    )
    picture = Image.fromarray(render(drawn, rng))
    if toy.side != picture.width:
        picture = picture.resize((toy.side, toy.side), Image.Resampling.BICUBIC)
    return picture


def _failure(group: Row) -> Row:
    named = {name: group[name] for name in ("group_id", "prompt_id", "prompt", "arm")}
    return {**named, "stage": "generate", "error_type": "PromptError", "error": "<b>too long</b>", "attempts": 2}


def _bad_prompt(index: int) -> Row:
    where = {"source": f"prompts.csv:{index + 2}", "stage": "plan", "attempts": 1}
    return {**where, "prompt": "", "error_type": "empty", "error": "the prompt is empty"}


def _write_shard(output: Storage, shard: int, images: list[Row], failed: list[Row], schema: pa.Schema) -> None:
    name = f"shard-{shard:06d}.parquet"
    for folder, keep in (("rejected", False), ("data", True)):
        rows = [row for row in images if row["keep"] is keep]
        if rows or keep:
            _write(output, f"{folder}/{name}", rows, schema)
    if failed:
        _write(output, f"failed/{name}", failed, FAILED)


def _write(output: Storage, path: str, rows: list[Row], schema: pa.Schema) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, row_group_size=20)
    output.write_bytes(path, sink.getvalue().to_pybytes())
