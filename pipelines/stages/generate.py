"""The generate stage: the groups of a shard become encoded images."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.spec import Group
from pipelines.cluster.crashes import isolated
from pipelines.cluster.progress import Meter, Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.config.run import RunConfig, fingerprint
from pipelines.dataset import images, retry, schema
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.stages.block import Shard, failures, pack, read_request
from pipelines.stages.isolate import Failure, free_memory, leaving_a_lost_device, packs_of_equal, run_isolated
from pipelines.stages.model import open_model

_ENCODING_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    image_id: str
    data: bytes
    ending: str


class GenerateShard:
    """Actor. Reads `shard` and `retry`; writes a block (see `block.py`) with images of `schema.GENERATED`.

    It may be called from several threads: one shard at a time is denoised, while the plan of the next one is read and
    the images of the last one are encoded and packed.
    """

    def __init__(self, config: RunConfig, output: Storage, progress: Progress) -> None:
        self._config = config
        self._output = output
        self._fingerprint = fingerprint(config)
        self._telemetry = Telemetry("generate", progress)
        with self._telemetry.busy("load_model"):
            self._generator = open_model(config.model, config.ray, config.group, config.sampling.guidance_scale)
        self._encoders = ThreadPoolExecutor(_ENCODING_THREADS)
        self._denoising = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        shard, again = read_request(block)
        deaths = self._telemetry.progress.attempt(shard)
        planned = read_shard(self._output, shard)
        if again:
            planned = retry.only_failed(self._output, shard, planned)
        encoded, failed = self._make(shard, groups_of(planned), deaths)
        self._telemetry.failed((f.error_type for f in failed.values()), group_size=self._config.group.size)
        self._telemetry.images(sum(map(len, encoded.values())), moved=True)
        return pack(
            Shard(
                shard=shard,
                retry=again,
                images=self._image_rows(planned, {i: [f.result() for f in encoded[i]] for i in sorted(encoded)}),
                failed=_failed_rows(planned, failed),
            )
        )

    def _make(
        self, shard: int, groups: list[Group], deaths: dict[int, int]
    ) -> tuple[dict[int, list[Future[_Encoded]]], dict[int, Failure]]:
        """The images of each group, in the hands of the encoders, and the groups that failed, by index."""
        progress = self._telemetry.progress
        per_batch = self._config.group.groups_per_batch
        packs, lost = isolated(packs_of_equal((group.batch_key for group in groups), per_batch), deaths)
        encoded: dict[int, list[Future[_Encoded]]] = {}
        failed = {index: _died(deaths[index]) for index in lost}

        def run(batch: list[tuple[int, Group]]) -> Sequence[NDArray[np.uint8]]:
            progress.begin(shard, [index for index, _ in batch])  # known before the worker may die of it
            self._telemetry.fill(len(batch) / per_batch)
            with self._telemetry.busy("denoise"):
                made = self._generate([group for _, group in batch])
            self._telemetry.gpu_memory(self._generator.peak_memory_bytes)
            return made

        with self._denoising:
            for index, outcome in run_isolated(list(enumerate(groups)), packs, run, free_memory):
                if isinstance(outcome, Failure):
                    failed[index] = outcome
                elif bad := images.blank(outcome):
                    error = f"images {bad} have a single colour"
                    failed[index] = Failure(error_type="BlankImage", error=error, attempts=1)
                else:  # encoded beside the denoising of the next pack
                    encoded[index] = [self._encoders.submit(self._encode, image) for image in outcome]
            progress.end(shard)
        return encoded, failed

    def _generate(self, groups: list[Group]) -> Sequence[NDArray[np.uint8]]:
        images_in_hand = sum(len(group.seeds) for group in groups)
        with Meter(self._telemetry.progress, images=images_in_hand) as meter, leaving_a_lost_device():
            return self._generator.generate(groups, meter.step)

    def _encode(self, image: NDArray[np.uint8]) -> _Encoded:
        video = image.ndim == 4
        if video:
            data = images.encode_video(image, self._generator.info.frames_per_second)
        else:
            data = images.encode(image, self._config.output.image_format)
        ending = "webp" if video else self._config.output.image_format
        return _Encoded(image_id=images.image_id(image), data=data, ending=ending)

    def _image_rows(self, planned: pa.Table, encoded: dict[int, list[_Encoded]]) -> pa.Table:
        """One row per image, group after group in plan order."""
        flat = [(group, index, image) for group, batch in encoded.items() for index, image in enumerate(batch)]
        of_group = planned.take(pa.array([group for group, _, _ in flat], pa.int64()))
        group_ids = of_group["group_id"].to_pylist()
        group_seeds: list[Any] = of_group["group_seeds"].to_pylist()
        columns: dict[str, Any] = {
            **{name: of_group[name] for name in schema.GROUP_COLUMNS},
            "image": [
                {"bytes": image.data, "path": f"{group_id}-{index}.{image.ending}"}
                for group_id, (_, index, image) in zip(group_ids, flat, strict=True)
            ],
            "image_id": [image.image_id for _, _, image in flat],
            "index_in_group": [index for _, index, _ in flat],
            "group_size": [len(encoded[group]) for group, _, _ in flat],
            "seed": [row[index] for row, (_, index, _) in zip(group_seeds, flat, strict=True)],
            "fingerprint": [self._fingerprint] * len(flat),
        }
        info = asdict(self._generator.info)
        columns |= {name: [info[name]] * len(flat) for name in ("model", "family", "dtype", "scheduler")}
        columns["model_revision"] = [info["revision"]] * len(flat)
        options = {field.name: getattr(self._config.model, field.name) for field in schema.MODEL_OPTIONS}
        columns["model_options"] = [options] * len(flat)
        return _typed(columns)


def _typed(columns: dict[str, Any]) -> pa.Table:
    return pa.table(
        {
            field.name: (
                columns[field.name]
                if isinstance(columns[field.name], pa.ChunkedArray)
                else pa.array(columns[field.name], field.type)
            )
            for field in schema.GENERATED
        },
        schema=schema.GENERATED,
    )


def _died(deaths: int) -> Failure:
    error = f"the worker process died {deaths} times while it made this group; see Ray's logs for the signal"
    return Failure(error_type="WorkerDied", error=error, attempts=deaths)


def _failed_rows(planned: pa.Table, failed: dict[int, Failure]) -> pa.Table:
    named = planned.select(["group_id", "prompt_id", "prompt", "arm"]).to_pylist()
    return failures([{**named[index], "stage": "generate", **asdict(failed[index])} for index in sorted(failed)])
