"""The generate stage: makes and encodes the images of a shard."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.errors import ModelError
from models.info import ModelInfo
from models.spec import Group
from pipelines.cluster.crashes import isolated
from pipelines.cluster.progress import Meter, Progress
from pipelines.cluster.telemetry import Telemetry
from pipelines.config import plugins
from pipelines.config.fingerprint import fingerprint
from pipelines.config.run import RunConfig
from pipelines.dataset import retry, schema
from pipelines.dataset.failures import Failure, failed_rows, of_group
from pipelines.dataset.prompt_columns import more_in
from pipelines.dataset.setting_columns import MODEL_OPTIONS, interventions_in
from pipelines.dataset.sources import Sources
from pipelines.dataset.storage import Storage
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.stages.block import Shard, pack, read_request
from pipelines.stages.draw import Encoded, OnStep, draw, encode
from pipelines.stages.isolate import packs_of_equal

_ENCODING_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A group whose images are being encoded."""

    images: list[Future[Encoded]]
    """In order."""
    displacement: Mapping[str, NDArray[np.float32]]
    """As of `models.drawn.Drawn`."""
    tokens_cut: Mapping[str, int]
    """As of `models.drawn.Drawn`."""
    negative_tokens_cut: Mapping[str, int]
    """As of `models.drawn.Drawn`."""


class GenerateShard:
    """Actor. Reads a request for a shard; writes a block with images of `schema.generated` (see `block`).

    It may be called from several threads: one shard at a time is denoised, while the plan of the next one is read and
    the images of the last one are encoded and packed.

    config: the run.
    output: the output folder.
    progress: where it reports to.
    """

    def __init__(self, config: RunConfig, output: Storage, progress: Progress) -> None:
        plugins.load(config.run.plugins)
        self._config = config
        self._output = output
        self._sources = Sources(output)
        self._fingerprint = fingerprint(config)
        self._telemetry = Telemetry("generate", progress)
        with self._telemetry.busy("load_model"):
            from models.replica.replica import open_generator

            ranks = config.ray.ranks(config.group, config.guided, config.run.plugins)
            self._generator = open_generator(config.model, ranks)
        _check_pictures(config, self._generator.info)
        for sampling in config.arm_samplings:
            self._generator.info.check_sigmas(sampling.sigmas)
        self._fps = config.output.fps or self._generator.info.frames_per_second
        self._encoders = ThreadPoolExecutor(_ENCODING_THREADS)
        self._denoising = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        shard, again = read_request(block)
        deaths = self._telemetry.progress.attempt(shard)
        planned = read_shard(self._output, shard)
        if again:
            planned = retry.only_failed(self._output, shard, planned)
        groups = groups_of(planned, self._sources)
        made, failed = self._make(shard, groups, deaths)
        lost = sum(len(groups[index].seeds) for index in failed)
        self._telemetry.failed((f.error_type for f in failed.values()), images=lost)
        self._telemetry.images(sum(len(group.images) for group in made.values()), moved=True)
        return pack(
            Shard(
                shard=shard,
                retry=again,
                images=self._image_rows(planned, {index: made[index] for index in sorted(made)}),
                failed=failed_rows("generate", ((of_group(planned, index), failed[index]) for index in sorted(failed))),
            )
        )

    def _make(
        self, shard: int, groups: list[Group], deaths: dict[int, int]
    ) -> tuple[dict[int, _Made], dict[int, Failure]]:
        """The groups that were made, and those that failed, by index."""
        per_batch = self._config.group.groups_per_batch
        packs, lost = isolated(packs_of_equal((group.batch_key for group in groups), per_batch), deaths)
        made: dict[int, _Made] = {}
        failed = {index: _died(deaths[index]) for index in lost}
        to, fps = self._config.output, self._fps

        @contextmanager
        def around(batch: Sequence[int]) -> Iterator[OnStep]:
            # Reported first, as the worker may die in the batch.
            self._telemetry.progress.begin(shard, list(batch))
            self._telemetry.fill(len(batch) / per_batch)
            image_count = sum(len(groups[index].seeds) for index in batch)
            with self._telemetry.busy("denoise"), Meter(self._telemetry.progress, images=image_count) as meter:
                yield meter.step
            self._telemetry.gpu_memory(self._generator.peak_memory_bytes)

        with self._denoising:
            for index, outcome in draw(self._generator.draw, groups, packs, around):
                if isinstance(outcome, Failure):
                    failed[index] = outcome
                else:  # encoded during the denoising of the next pack
                    images = [
                        self._encoders.submit(encode, picture, to.image_format, to.video_format, fps)
                        for picture in outcome.pixels
                    ]
                    made[index] = _Made(
                        images=images,
                        displacement=outcome.displacement,
                        tokens_cut=outcome.tokens_cut,
                        negative_tokens_cut=outcome.negative_tokens_cut,
                    )
            self._telemetry.progress.end(shard)
        return made, failed

    def _image_rows(self, planned: pa.Table, made: dict[int, _Made]) -> pa.Table:
        """One row per image, group after group in plan order."""
        flat = [(group, index, image.result()) for group in made for index, image in enumerate(made[group].images)]
        of_group = planned.take(pa.array([group for group, _, _ in flat], pa.int64()))
        group_ids = of_group["group_id"].to_pylist()
        group_seeds: list[Any] = of_group["group_seeds"].to_pylist()
        columns: dict[str, Any] = {
            **{name: of_group[name] for name in planned.column_names if name != "shard"},
            "image": [
                {"bytes": image.data, "path": f"{group_id}-{index}.{image.ending}"}
                for group_id, (_, index, image) in zip(group_ids, flat, strict=True)
            ],
            "image_id": [image.image_id for _, _, image in flat],
            "index_in_group": [index for _, index, _ in flat],
            "group_size": [len(made[group].images) for group, _, _ in flat],
            "seed": [row[index] for row, (_, index, _) in zip(group_seeds, flat, strict=True)],
            "displacement": [
                {name: of_images[index] for name, of_images in made[group].displacement.items()}
                for group, index, _ in flat
            ],
            "tokens_cut": [made[group].tokens_cut for group, _, _ in flat],
            "negative_tokens_cut": [made[group].negative_tokens_cut or None for group, _, _ in flat],
            "fingerprint": [self._fingerprint] * len(flat),
        }
        info = asdict(self._generator.info)
        columns |= {name: [info[name]] * len(flat) for name in ("model", "family", "dtype", "scheduler")}
        columns["model_revision"] = [info["revision"]] * len(flat)
        options = {field.name: getattr(self._config.model, field.name) for field in MODEL_OPTIONS}
        columns["model_options"] = [options] * len(flat)
        columns["fps"] = [self._fps] * len(flat)
        acting, more = interventions_in(planned.column_names), more_in(planned.schema)
        videos = self._config.output.video_format if self._config.videos else None
        return _typed(columns, schema.generated(acting, more, videos=videos))


def _check_pictures(config: RunConfig, info: ModelInfo) -> None:
    """Raise ModelError where every group would fail: the model edits pictures and rows have none, or the reverse."""
    (least, most), pictured = info.pictures, config.prompts.columns.pictured
    if least and not pictured:
        raise ModelError(
            f"{info.family} edits pictures, at least {least} for each prompt, and prompts.columns.source_image names "
            "no column with pictures: see pipelines/prompts/README.md"
        )
    if pictured and not most:
        raise ModelError(
            f"prompts.columns.source_image = {config.prompts.columns.source_image!r}: {info.family} takes no pictures; "
            "leave it out, or choose a model that edits"
        )


def _typed(columns: dict[str, Any], target: pa.Schema) -> pa.Table:
    return pa.table(
        {
            field.name: (
                columns[field.name]
                if isinstance(columns[field.name], pa.ChunkedArray)
                else pa.array(columns[field.name], field.type)
            )
            for field in target
        },
        schema=target,
    )


def _died(deaths: int) -> Failure:
    error = f"the worker process died {deaths} times while it made this group; see Ray's logs for the signal"
    return Failure(error_type="WorkerDied", error=error, attempts=deaths)
