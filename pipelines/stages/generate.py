"""The generate stage: the groups of a shard become encoded images."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.spec import Group
from pipelines import images, plan, schema
from pipelines.config import RunConfig, fingerprint
from pipelines.progress import Meter, ProgressActor
from pipelines.stages.block import Shard, failures, pack, shard_number
from pipelines.stages.isolate import Failure, packs_of_equal, run_isolated
from pipelines.storage import Storage

_ENCODING_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    image_id: str
    data: bytes


class GenerateShard:
    """Actor. Reads `shard`; writes a block (see `block.py`) whose images have the columns of `schema.GENERATED`."""

    def __init__(self, config: RunConfig, output: Storage, progress: ProgressActor) -> None:
        import torch

        from models.parallel.replica import open_generator

        if config.ray.threads_per_generator:
            torch.set_num_threads(config.ray.threads_per_generator)
        self._config = config
        self._output = output
        self._fingerprint = fingerprint(config)
        self._generator = open_generator(
            config.model,
            ranks=config.ray.gpus_per_replica,
            parallelism=config.ray.parallelism,
            images=config.group.size * config.ray.groups_per_batch,
            guided=config.sampling.guidance_scale > 1.0,
            threads=config.ray.threads_per_generator,
            timeout_s=config.ray.rank_timeout_s,
        )
        self._encoders = ThreadPoolExecutor(_ENCODING_THREADS)
        self._progress = progress

    def __call__(self, block: pa.Table) -> pa.Table:
        started = time.perf_counter()
        shard = shard_number(block)
        planned = plan.read_shard(self._output, shard)
        groups = plan.groups_of(planned)
        encoded: dict[int, list[Future[_Encoded]]] = {}
        failed: dict[int, Failure] = {}
        packs = packs_of_equal((group.batch_key for group in groups), self._config.ray.groups_per_batch)
        for index, outcome in run_isolated(groups, packs, self._generate):
            if isinstance(outcome, Failure):
                failed[index] = outcome
            elif bad := images.blank(outcome):
                failed[index] = Failure(error_type="BlankImage", error=f"images {bad} have a single colour", attempts=1)
            else:  # encoded beside the denoising of the next pack
                encoded[index] = [self._encoders.submit(self._encode, image) for image in outcome]
        return pack(
            Shard(
                shard=shard,
                images=self._image_rows(planned, {i: [f.result() for f in encoded[i]] for i in sorted(encoded)}),
                failed=_failed_rows(planned, failed),
                generate_seconds=time.perf_counter() - started,
                score_seconds=0.0,
            )
        )

    def _generate(self, groups: list[Group]) -> list[NDArray[np.uint8]]:
        with Meter(self._progress, images=sum(len(group.seeds) for group in groups)) as meter:
            return self._generator.generate(groups, meter.step)

    def _encode(self, image_HWC: NDArray[np.uint8]) -> _Encoded:
        return _Encoded(
            image_id=images.image_id(image_HWC), data=images.encode(image_HWC, self._config.output.image_format)
        )

    def _image_rows(self, planned: pa.Table, encoded: dict[int, list[_Encoded]]) -> pa.Table:
        """One row per image, group after group in plan order."""
        flat = [(group, index, image) for group, batch in encoded.items() for index, image in enumerate(batch)]
        of_group = planned.take(pa.array([group for group, _, _ in flat], pa.int64()))
        group_ids = of_group["group_id"].to_pylist()
        group_seeds: list[Any] = of_group["group_seeds"].to_pylist()
        ending = self._config.output.image_format
        columns: dict[str, Any] = {
            **{name: of_group[name] for name in schema.GROUP_COLUMNS},
            "image": [
                {"bytes": image.data, "path": f"{group_id}-{index}.{ending}"}
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


def _failed_rows(planned: pa.Table, failed: dict[int, Failure]) -> pa.Table:
    named = planned.select(["group_id", "prompt_id", "prompt", "arm"]).to_pylist()
    return failures([{**named[index], "stage": "generate", **asdict(failed[index])} for index in sorted(failed)])
