"""Makes images of a finished dataset again, from the settings in their rows, and compares the pixels. An MP4 does not
keep its pixels exactly: there the ids say whether the pixels are the same, and what differs is measured after both were
made MP4s."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.interventions.registry import find
from models.spec import Group, Lora, ModelSpec, Offload, Sampling
from pipelines.config import plugins, toml
from pipelines.config.arm_sampling import ArmSampling
from pipelines.config.arms import Arm
from pipelines.config.recorded import recorded, recorded_tables
from pipelines.config.tables import GroupSize, Output, RayOptions, Run
from pipelines.dataset import images, mp4, parquet, run_json, schema, videos
from pipelines.dataset.names import IMAGE_FOLDERS, image_files, shard_of
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.errors import UserError
from pipelines.flows import run_record
from pipelines.plan import files as plan_files
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.stages.isolate import packs_of_equal

Row = dict[str, Any]
_COMPARED = ("image", "image_id", "index_in_group", "group_id", "prompt", "frames", "fps")
"""Columns; runs of pictures have no `fps`."""

Generate = Callable[[list[Group]], Sequence[NDArray[np.uint8]]]
"""`models.generator.Generator.generate`: one uint8 [B, H, W, 3] per group."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The comparison of an image with the same image made again."""

    group_id: str
    """Of its group."""
    index: int
    """Number of the image in its group, from 0."""
    prompt: str
    """Of its group."""
    identical: bool
    """Whether all pixels are the same."""
    max_difference: int
    """Largest difference of a pixel value, 0 to 255."""
    psnr_db: float
    """Peak signal-to-noise ratio in dB; inf for equal pixels."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Settings in run.json that rows do not have: they decide the last bits of the pixels, or the memory needed."""

    same_versions: bool
    """Whether the installed libraries have the versions of the run."""
    offload: Offload
    """`model.offload` of the run."""
    loras: tuple[Lora, ...]
    """`model.loras` of the run: a row has those that acted on it, and other arms have others."""
    ray: RayOptions
    """The table [ray] of the run."""
    group: GroupSize
    """The table [group] of the run."""
    guided: bool
    """Whether an arm of the run has guidance."""
    plugins: tuple[str, ...]
    """`run.plugins` of the run."""


def pick(output: Storage, *, sample: int, group_id: str = "", seed: int = 0) -> Iterator[pa.Table]:
    """The image rows of some groups, one table per group, kept and rejected images together.

    output: the output folder of the run.
    sample: number of groups, spread over the shards; 0 takes all.
    group_id: take this group only; "" takes the sample.
    seed: of the sample.

    Raises:
        UserError: when there is no such group, or no image at all.
    """
    files = (name for folder in IMAGE_FOLDERS for name in output.list(folder))
    names = sorted({name for name in files if shard_of(name) is not None})
    random.Random(seed).shuffle(names)
    found = 0
    # The same number from each shard, so that a small sample does not come from one of them.
    per_shard = len(names) if group_id or not sample else max(1, -(-sample // max(1, len(names))))
    for name in names:
        ids = _group_ids(output, name)
        if group_id:
            ids = [group_id] if group_id in ids else []
        elif sample:
            random.Random(f"{seed} {name}").shuffle(ids)
            ids = ids[: min(per_shard, sample - found)]
        rows = _rows(output, name, ids) if ids else None
        for one in ids:
            assert rows is not None
            yield rows.filter(pc.equal(rows["group_id"], pa.scalar(one)))
            found += 1
        if sample and found >= sample and not group_id:
            return
    if not found:
        wanted = f"no group {group_id!r}" if group_id else "no image"
        raise UserError(f"{output.path('data')} holds {wanted}; give --dataset the output folder of a run")


def replay(output: Storage, rows: pa.Table, generate: Generate, *, per_batch: int) -> list[Replayed]:
    """Make a group again, and compare; one result per row.

    output: the output folder of the run.
    rows: the image rows of the group, as `pick` gives them.
    generate: makes images.
    per_batch: the run's `group.groups_per_batch`.

    Raises:
        UserError: when the stored pixels do not match their image_id.
    """
    batch, at = _batch(output, rows.slice(0, 1), per_batch)
    made = generate(batch)[at]
    columns = [name for name in _COMPARED if name in rows.column_names]
    return [_compared(output, row, made[row["index_in_group"]]) for row in rows.select(columns).to_pylist()]


def _compared(output: Storage, row: Row, again: NDArray[np.uint8]) -> Replayed:
    """The comparison of a row with its picture or video, made again."""

    def shown(file: bytes) -> NDArray[np.uint8]:
        return images.decode(file) if again.ndim == 3 else videos.decode(file, row["frames"], range(row["frames"]))

    try:
        stored, lossy = shown(row["image"]["bytes"]), mp4.is_one(row["image"]["bytes"])
    except Exception as error:  # Pillow and PyAV raise many
        raise UserError(f"{output.uri}: the image {row['image_id']} cannot be read: {error}") from error
    if not lossy and images.image_id(stored) != row["image_id"]:
        raise UserError(f"{output.uri}: the pixels of image {row['image_id']} are not those it was stored with")
    compared = shown(videos.encode(again, "mp4", row["fps"])) if lossy else again
    difference = np.abs(compared.astype(np.int16) - stored.astype(np.int16))
    return Replayed(
        group_id=row["group_id"],
        index=row["index_in_group"],
        prompt=row["prompt"],
        identical=images.image_id(again) == row["image_id"] and not difference.any(),
        max_difference=int(difference.max()),
        psnr_db=_psnr(difference),
    )


def origin(output: Storage) -> Origin:
    """The settings of a run that its rows do not have. Imports the run's plugins, as rows have their settings.

    output: the output folder of the run.

    Raises:
        UserError: when the folder holds no run, or one of a version of the row contract that cannot be read.
    """
    run = run_json.read(output)
    if run.schema_version not in schema.READABLE:
        raise UserError(
            f"{output.path(run_json.FILE)} has version {run.schema_version} of the row contract, this program reads "
            f"{' and '.join(map(str, schema.READABLE))}; replay it with the release that made it"
        )
    named = recorded(run, "run", Run).plugins
    plugins.load(named)
    own = {field.name for field in fields(Arm)}
    arms = recorded_tables(run, "arms")
    for arm in arms:
        for name, settings in arm.items():
            if name not in own and settings and find(name) is None:
                raise UserError(
                    f"{output.path(run_json.FILE)}: the arm {arm['name']!r} has {name!r}, which is no intervention "
                    "here; install the plugin that the run used (run.plugins)"
                )
    model = recorded(run, "model", ModelSpec)
    in_mp4 = recorded(run, "output", Output).video_format == "mp4"
    if in_mp4:
        mp4.require("a run of MP4s")
    return Origin(
        same_versions=run.libraries == run_record.libraries(mp4=in_mp4),
        offload=model.offload,
        loras=model.loras,
        ray=recorded(run, "ray", RayOptions),
        group=recorded(run, "group", GroupSize),
        guided=_guided(recorded(run, "sampling", Sampling), arms),
        plugins=named,
    )


def _guided(sampling: Sampling, arms: Sequence[Mapping[str, Any]]) -> bool:
    own = [toml.build(ArmSampling, arm.get("sampling", {}), file=run_json.FILE, at="arms.sampling") for arm in arms]
    return any(one.of(sampling).guidance_scale > 1.0 for one in own)


def model_of(row: pa.Table, *, device: str, made_by: Origin, offload: Offload = "none", path: str = "") -> ModelSpec:
    """The model of a row.

    row: an image row.
    device: where to run it.
    made_by: the row's run.
    offload: as in `ModelSpec`.
    path: of the model now; "" takes the row's.
    """
    recorded_model = row.select(["model", "model_revision", "dtype", "model_options"]).slice(0, 1).to_pylist()[0]
    table = {
        "path": path or recorded_model["model"],
        "revision": "" if path else recorded_model["model_revision"],
        "dtype": recorded_model["dtype"],
        "device": device,
        "offload": offload,
        **recorded_model["model_options"],
    }
    return replace(toml.build(ModelSpec, table, file="a row", at="model"), loras=made_by.loras)


def _batch(output: Storage, row: pa.Table, per_batch: int) -> tuple[list[Group], int]:
    """The denoising batch of a group, and the group's number in it: the shape of a batch decides the last bits of the
    pixels. Without plan/, which a copied dataset may lack, the group is made alone."""
    sources = Sources(output)
    own = groups_of(row, sources)[0]
    if per_batch == 1:
        return [own], 0
    group_id = str(row["group_id"][0].as_py())
    try:
        planned = read_shard(output, _shard_of(output, group_id))
    except FileNotFoundError:
        return [own], 0
    index = planned["group_id"].to_pylist().index(group_id)
    groups = groups_of(planned, sources)
    pack = next(p for p in packs_of_equal((g.batch_key for g in groups), per_batch) if index in p)
    return [own if i == index else groups[i] for i in pack], pack.index(index)


def _shard_of(output: Storage, group_id: str) -> int:
    for path in plan_files.parts(output):
        table = parquet.read(output, path, ["group_id", "shard"])
        found = table.filter(pc.equal(table["group_id"], pa.scalar(group_id)))
        for shard in found["shard"].to_pylist():
            return int(shard)  # type: ignore[arg-type]  # never null
    raise FileNotFoundError(group_id)


def _group_ids(output: Storage, name: str) -> list[str]:
    ids: dict[Any, None] = {}
    for file in image_files(output, name):
        ids |= dict.fromkeys(parquet.read(output, file, ["group_id"])["group_id"].to_pylist())
    return sorted(ids)


def _rows(output: Storage, name: str, ids: list[str]) -> pa.Table:
    tables = (parquet.read(output, file) for file in image_files(output, name))
    return pa.concat_tables([table.filter(pc.is_in(table["group_id"], value_set=pa.array(ids))) for table in tables])


def _psnr(difference: NDArray[np.int16]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pixels: 10 log10(255^2 / mean squared difference)."""
    error = float(np.square(difference.astype(np.float64)).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
