"""The fastest division of a group over 1 to 8 GPUs, by a cost model of published models; nothing is run.

For each model, number of GPUs and division it adds up

    compute   2 x parameters x tokens + 4 x layers x tokens^2 x width, per image, branch and step, at `--tflops`;
    traffic   bytes that a GPU receives, at `--gbps`: Ulysses exchanges q, k, v and the output at every attention; TORA
              gathers text over the context and cfg axes at every block; repulsion gathers text over the group axis in
              its first steps; outputs are gathered once per step;
    latency   `--microseconds` per collective.

It leaves out text encoding, the autoencoder (divided over all GPUs by images), and the overlap of traffic and compute.
For throughput alone, with GPUs that hold the model, replicas of one GPU each are fastest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from models.checkpoints import Size, size_of
from models.parallel.division import Division

_BYTES = 2  # bfloat16


@dataclass(frozen=True, kw_only=True)
class Model:
    """Shape of a transformer and of a usual run at 1024 x 1024 pixels."""

    name: str
    """For the table."""
    size: Size
    """Numbers of weights."""
    layers: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    text: int
    """Text tokens."""
    steps: int
    """Denoising steps."""
    branches: int
    """2 with classifier-free guidance, else 1."""
    tau: int
    """Steps in which repulsion acts."""
    image: int = 4096
    """Image tokens."""


def _size(checkpoint: str) -> Size:
    size = size_of(checkpoint)
    assert size is not None, checkpoint
    return size


MODELS = (
    Model(
        name="SD3.5-Large",
        size=_size("stabilityai/stable-diffusion-3.5-large"),
        layers=38,
        heads=38,
        text=333,
        steps=28,
        branches=2,
        tau=4,
    ),
    Model(
        name="FLUX.1-dev",
        size=_size("black-forest-labs/FLUX.1-dev"),
        layers=57,
        heads=24,
        text=512,
        steps=28,
        branches=1,
        tau=1,
    ),
    Model(
        name="FLUX.2-dev",
        size=_size("black-forest-labs/FLUX.2-dev"),
        layers=56,
        heads=48,
        text=512,
        steps=28,
        branches=1,
        tau=1,
    ),
    Model(
        name="Qwen-Image",
        size=_size("Qwen/Qwen-Image"),
        layers=60,
        heads=24,
        text=64,
        steps=50,
        branches=2,
        tau=4,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Speeds of a GPU."""

    flops: float
    """Operations per second."""
    bandwidth: float
    """Bytes that it receives per second."""
    latency: float
    """Seconds of a collective."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The time of one group."""

    compute: float
    """Seconds of arithmetic."""
    traffic: float
    """Seconds of transfers."""
    latency: float
    """Seconds of waiting for collectives."""

    @property
    def seconds(self) -> float:
        """The sum."""
        return self.compute + self.traffic + self.latency


def cost(model: Model, division: Division, images: int, machine: Machine, *, tora: bool, repulsion: bool) -> Cost:
    """The time of one group.

    model: shape of the model and the run.
    division: how the GPUs share the group.
    images: images of the group.
    machine: speeds of a GPU.
    tora: whether TORA acts.
    repulsion: whether contextual repulsion acts.
    """
    tokens, branches, width = model.image + model.text, model.branches // division.cfg, model.size.width
    rows = -(-images // division.group) * branches
    per_row = 2 * model.size.transformer * tokens + 4 * model.layers * tokens**2 * width
    compute = model.steps * rows * per_row / division.context / machine.flops

    def received(size: float, axis: int) -> float:
        """Bytes a GPU receives when pieces of `size` bytes in all are gathered over `axis` ranks."""
        return size * (axis - 1) / axis

    text = rows * model.text * width * _BYTES
    pixels = model.branches * images * model.image * 64 * _BYTES
    traffic = received(pixels, division.ranks)
    collectives = 1 if division.ranks > 1 else 0
    if division.context > 1:
        exchanged = 4 * rows * tokens * width * _BYTES / division.context
        traffic += model.layers * received(exchanged, division.context)
        collectives += 8 * model.layers  # with the pieces' lengths, which are exchanged first
    if tora:
        seen = text * division.cfg
        traffic += model.layers * received(seen, division.cfg * division.context)
        collectives += model.layers * ((division.cfg > 1) + (division.context > 1))
    share = model.tau / model.steps if repulsion else 0.0
    traffic += share * model.layers * received(text * division.group / division.context, division.group)
    collectives += int(share * model.layers * ((division.group > 1) + (division.context > 1)))
    return Cost(
        compute=compute,
        traffic=model.steps * traffic / machine.bandwidth,
        latency=model.steps * collectives * machine.latency,
    )


def divisions(model: Model, gpus: int) -> Iterator[Division]:
    """All divisions over `gpus` GPUs that the model allows."""
    for cfg, group in product((1, 2), (1, 2, 4, 8)):
        context, rest = divmod(gpus, cfg * group)
        if not rest and context >= 1 and cfg <= model.branches and model.heads >= context:
            yield Division(cfg=cfg, group=group, context=context)


def weights_gb(model: Model) -> tuple[float, float]:
    """Gigabytes of the transformer alone, and with the text encoders, in bfloat16."""
    transformer, encoders = model.size.transformer, sum(model.size.text_encoders)
    return transformer * _BYTES / 1e9, (transformer + encoders) * _BYTES / 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--tflops", type=float, default=400.0, help="arithmetic a GPU achieves, in TFLOP/s (an H100)")
    parser.add_argument("--gbps", type=float, default=250.0, help="GB/s that a GPU receives (NVLink); PCIe 4: about 20")
    parser.add_argument("--microseconds", type=float, default=30.0, help="latency of a collective")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4, 32], help="images of a group")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    machine = Machine(flops=options.tflops * 1e12, bandwidth=options.gbps * 1e9, latency=options.microseconds * 1e-6)
    assumed = f"{options.tflops:g} TFLOP/s, {options.gbps:g} GB/s, {options.microseconds:g} us"
    print(f"{assumed}; both interventions on; bfloat16; 1024 x 1024 pixels")
    for model in MODELS:
        alone_gb, all_gb = weights_gb(model)
        print(f"\n{model.name}: {alone_gb:.0f} GB of weights on every GPU, {all_gb:.0f} GB with the text encoders")
        print(f"  {'images':>6} {'GPUs':>4}  {'division':<24}{'seconds':>8} {'traffic':>8} {'speed-up':>9}   next best")
        for images, gpus in product(options.images, (1, 2, 4, 8)):
            ranked = sorted(
                (
                    (cost(model, division, images, machine, tora=True, repulsion=True), division)
                    for division in divisions(model, gpus)
                ),
                key=lambda pair: pair[0].seconds,
            )
            single = cost(model, Division(), images, machine, tora=True, repulsion=True).seconds
            best, division = ranked[0]
            others = "" if len(ranked) == 1 else f"{ranked[1][1]} {ranked[1][0].seconds:.2f} s"
            share = (best.traffic + best.latency) / best.seconds
            print(
                f"  {images:>6} {gpus:>4}  {division!s:<24}{best.seconds:>8.2f} {share:>8.1%} "
                f"{single / best.seconds:>8.2f}x   {others}"
            )
    return 0
