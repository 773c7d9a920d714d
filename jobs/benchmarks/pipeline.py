"""Images per second of the job, compared with a bare loop over the generator and with a plain script.

    python jobs/bench.py pipeline
    python jobs/bench.py pipeline --prompts 64 --groups-per-batch 8
    python jobs/bench.py pipeline --dtype bfloat16 --compile

Everything on the embedded model (random weights of the same shape where the trained ones are missing), CPU, one thread
per process. The bare loop makes the job's groups, with both interventions, in this process and keeps nothing. The plain
script is Ray Data's `map_batches` around `StableDiffusion3Pipeline(prompt, num_images_per_prompt=4)` with open_clip
scoring in the same actor and `write_parquet`; it has no interventions. Rates are those of the steady state: from the
end of the first shard, or call, to the end of the last. The bare loop runs before and after the job, as the speed of a
machine varies; the job is compared with the mean of both.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.embedded import SAMPLING, WEIGHTS, world
from models.spec import ModelSpec, Sampling
from pipelines.config.load import build
from pipelines.config.run import RunConfig
from pipelines.dataset.storage import Storage
from pipelines.flows import preflight, synth
from pipelines.plan.files import read_shard
from pipelines.plan.groups import groups_of
from pipelines.plan.write import write_plan
from pipelines.stages.isolate import packs_of_equal

if TYPE_CHECKING:
    from models.generator import Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--groups-per-batch", type=int, default=4)
    parser.add_argument("--groups-per-shard", type=int, default=4)
    parser.add_argument("--steps", type=int, default=SAMPLING.steps)
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the model, in all three"
    )
    parser.add_argument("--compile", action="store_true", help="model.compile, in the bare loop and the job")
    parser.add_argument("--only", choices=("bare", "job", "plain"), help="one of the three")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = preflight.check(_config(options, folder))
        bare = _BareLoop(config, folder)
        rates: dict[str, list[float]] = {}
        for label, measure in (("bare", bare), ("job", _job), ("bare", bare), ("plain", _plain_script)):
            if options.only in (None, label):
                rates.setdefault(label, []).append(measure(config, folder))
                print(f"{label:6s}{rates[label][-1]:8.3f} images/s", flush=True)
        for other in ("bare", "plain"):
            if {"job", other} <= rates.keys():
                print(f"job over {other}: {rates['job'][0] / fmean(rates[other]):.2f}")
    return 0


def _config(options: argparse.Namespace, folder: Path) -> RunConfig:
    words = product(world.COLOURS, world.SHAPES, world.BACKGROUNDS)
    prompts = [f"a {colour} {shape} on {place}" for colour, shape, place in islice(words, options.prompts)]
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n")
    pipeline, clip = embedded_models(folder)
    table = {
        "run": {"output": str(folder / "out")},
        "prompts": {"path": str(folder / "prompts.txt")},
        "model": {"path": pipeline, "dtype": options.dtype, "device": "cpu", "compile": options.compile},
        "scoring": {"model": f"local-dir:{clip}"},
        "sampling": asdict(SAMPLING) | {"steps": options.steps},
        "group": {"size": options.group_size, "groups_per_batch": options.groups_per_batch},
        "output": {"groups_per_shard": options.groups_per_shard},
        "ray": {"cpus_per_generator": 1.0, "cpus_per_scorer": 0.5, "cpus_per_writer": 0.25, "threads_per_generator": 1},
    }
    return build(table, file="the benchmark")


def embedded_models(folder: Path) -> tuple[str, str]:
    """The folders of the embedded pipeline and scorer.

    folder: where models with random weights are written if the trained ones are missing.
    """
    if WEIGHTS.is_dir():
        return str(WEIGHTS / "pipeline"), str(WEIGHTS / "clip")
    import open_clip

    from models.embedded.training import scorer
    from models.embedded.training.tokenizer import build_tokenizer
    from models.embedded.training.untrained import save_untrained

    tokenizer = build_tokenizer(folder / "words")
    scorer.export_scorer(open_clip.CLIP(**scorer.model_config(len(tokenizer))), tokenizer, folder / "clip")
    return save_untrained(folder), str(folder / "clip")


class _BareLoop:
    """A loop over the job's packs. The model is loaded at the first call."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        output = Storage.open(folder / "plan-only")
        counts = write_plan(config, output)
        groups = [group for shard in counts.shard_numbers() for group in groups_of(read_shard(output, shard))]
        packs = packs_of_equal((group.batch_key for group in groups), config.group.groups_per_batch)
        self._packs = [[groups[index] for index in pack] for pack in packs]
        self._generator: Generator | None = None

    def __call__(self, config: RunConfig, folder: Path) -> float:
        import torch

        from models.generator import Generator

        torch.set_num_threads(1)
        self._generator = self._generator or Generator(config.model)
        ends: list[float] = []
        images: list[int] = []
        for pack in self._packs:
            images.append(sum(len(made) for made in self._generator.generate(pack)))
            ends.append(time.time())
        return _steady(ends, images)


def _job(config: RunConfig, folder: Path) -> float:
    synth.run(config)
    output = Storage.open(config.run.output)
    files = sorted(Path(output.path("data")).iterdir(), key=lambda file: file.stat().st_mtime_ns)
    shards = [int(file.stem.removeprefix("shard-")) for file in files]
    images = [read_shard(output, shard).num_rows * config.group.size for shard in shards]
    return _steady([file.stat().st_mtime for file in files], images)


def _plain_script(config: RunConfig, folder: Path) -> float:
    import pyarrow.parquet as pq
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    ray.init(address="local", include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    try:
        (
            ray.data.read_text(config.prompts.paths[0])
            .repartition(config.prompts.limit or 8)
            .map_batches(
                PlainScript,
                fn_constructor_args=(config.model, config.scoring.model, config.sampling),
                batch_size=1,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=1),
            )
            .write_parquet(str(folder / "plain"))
        )
    finally:
        ray.shutdown()
    ends = np.unique(pq.read_table(folder / "plain")["end"].to_numpy())
    return _steady(ends.tolist(), [4] * len(ends))


class PlainScript:
    """The script of a user without this project: one actor that makes and scores images, with diffusers and open_clip.

    model: which pipeline.
    scorer: a model of open_clip.
    sampling: of all images.
    """

    def __init__(self, model: ModelSpec, scorer: str, sampling: Sampling) -> None:
        import open_clip
        import torch
        from diffusers import StableDiffusion3Pipeline

        torch.set_num_threads(1)
        self._pipe = StableDiffusion3Pipeline.from_pretrained(
            model.path, text_encoder_3=None, tokenizer_3=None, dtype=getattr(torch, model.dtype)
        )
        self._pipe.set_progress_bar_config(disable=True)
        self._clip, _, self._preprocess = open_clip.create_model_and_transforms(scorer)
        self._clip.eval()
        self._tokenize = open_clip.get_tokenizer(scorer)
        self._sampling = sampling

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        import torch

        (prompt,) = batch["text"]
        images = self._pipe(
            str(prompt),
            num_images_per_prompt=4,
            num_inference_steps=self._sampling.steps,
            guidance_scale=self._sampling.guidance_scale,
            width=self._sampling.width,
            height=self._sampling.height,
            max_sequence_length=self._sampling.max_sequence_length,
        ).images
        with torch.no_grad():
            pixels = self._clip.encode_image(torch.stack([self._preprocess(image) for image in images]), normalize=True)
            text = self._clip.encode_text(self._tokenize([str(prompt)]), normalize=True)
        files = []
        for image in images:
            file = io.BytesIO()
            image.save(file, "PNG")
            files.append(file.getvalue())
        return {
            "prompt": [prompt] * len(images),
            "image": files,
            "score": (pixels @ text.T)[:, 0].float().numpy(),
            "end": np.full(len(images), time.time()),
        }


def _steady(ends: Sequence[float], images: Sequence[int]) -> float:
    """Images per second from the end of the first piece of work to the end of the last."""
    return sum(images[1:]) / (ends[-1] - ends[0])
