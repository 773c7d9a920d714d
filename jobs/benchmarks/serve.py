"""Latency and throughput of the endpoint: one caller at a time, many callers that share batches, the bare generator.

    python jobs/bench.py serve
    python jobs/bench.py serve --clients 8 --images 1 --seconds 20 --rounds 3
    python jobs/bench.py serve --args dtype=bfloat16    # where the CPU has it, sharing a batch pays more
    python jobs/bench.py serve --args config=jobs/configs/demo.toml gpus_per_replica=1

Without --args it serves the embedded model (random weights of the same shape where the trained ones are missing) on the
CPU, one thread. The endpoint is the real one: Ray Serve, HTTP, base64, scores off. Callers send the next request when
they have their images. The three are measured in turns, so that a slow moment of the machine affects all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from jobs.benchmarks.pipeline import embedded_models
from models.embedded import SAMPLING, WEIGHTS
from models.seeds import image_seed
from models.spec import Group
from pipelines.serve.serving import resolve
from pipelines.serve.settings import ServeArgs

_PORT = 8199
_PROMPT = "a purple star on night"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--images", type=int, default=1, help="images of a request")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the three, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="denoising steps; 0 takes the model's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--args", nargs="*", default=[], metavar="KEY=VALUE", help="of pipelines.serve.app:app")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements of one phase."""

    images_per_s: float
    """Over the whole phase."""
    seconds: list[float]
    """Duration of each request."""
    groups: list[int]
    """Groups in the batch of each request."""


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        args = _args(options, Path(folder))
        bare = Bare(args, options)
        rows: dict[str, list[Measured]] = {"bare generator": [], "one client": [], f"{options.clients} clients": []}
        with _endpoint(args) as url:
            for seconds in (0.0, *[options.seconds] * options.rounds):  # the first, with one request each, warms up
                phases = (
                    bare.measure(seconds),
                    asyncio.run(_ask(url, 1, options.images, seconds)),
                    asyncio.run(_ask(url, options.clients, options.images, seconds)),
                )
                if seconds:
                    for row, measured in zip(rows.values(), phases, strict=True):
                        row.append(measured)
    _show(rows)
    return 0


def _args(options: argparse.Namespace, folder: Path) -> ServeArgs:
    given = dict(text.split("=", 1) for text in options.args)
    if not {"model", "config"} & given.keys() and not WEIGHTS.is_dir():
        pipeline, _ = embedded_models(folder)
        given |= {"model": pipeline, "dtype": "float32", "guidance_scale": str(SAMPLING.guidance_scale)}
        given |= {"size": f"{SAMPLING.width}x{SAMPLING.height}", "max_sequence_length": "0"}
    if options.steps:
        given["steps"] = str(options.steps)
    return ServeArgs.model_validate(
        {"scoring": "off", "threads_per_replica": options.threads, "groups_per_batch": options.clients, **given}
    )


class Bare:
    """The generator in this process, one group at a time.

    args: the endpoint's settings.
    options: of the command line.
    """

    def __init__(self, args: ServeArgs, options: argparse.Namespace) -> None:
        import torch

        from models.generator import Generator

        torch.set_num_threads(options.threads)
        serving = resolve(args)
        self._generator = Generator(serving.model)
        seeds = tuple(image_seed(0, "bench", index) for index in range(options.images))
        self._group = Group(prompt=_PROMPT, seeds=seeds, sampling=serving.sampling)

    def measure(self, seconds: float) -> Measured:
        """Make groups for some seconds, one at least."""
        taken: list[float] = []
        while not taken or sum(taken) < seconds:
            began = time.perf_counter()
            self._generator.generate([self._group])
            taken.append(time.perf_counter() - began)
        rate = len(taken) * len(self._group.seeds) / sum(taken)
        return Measured(images_per_s=rate, seconds=taken, groups=[1] * len(taken))


@contextmanager
def _endpoint(args: ServeArgs) -> Iterator[str]:
    import ray
    from ray import serve

    from pipelines.serve.app import app

    ray.init(address="local", include_dashboard=False, object_store_memory=128 << 20, log_to_driver=False)
    try:
        serve.start(http_options={"port": _PORT})
        serve.run(app(args))
        yield f"http://127.0.0.1:{_PORT}"
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def _ask(url: str, clients: int, images: int, seconds: float) -> Measured:
    """Requests of `clients` callers that each send one after the other until `seconds` are over, one at least."""
    taken: list[float] = []
    groups: list[int] = []

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        last = False
        while not last:
            asked = time.perf_counter()
            body = {"prompt": _PROMPT, "n": images, "seed": number}
            async with session.post(f"{url}/v1/images/generations", json=body) as answer:
                answer.raise_for_status()
                group = (await answer.json())["group"]
            taken.append(time.perf_counter() - asked)
            groups.append(group["groups_in_batch"])
            last = time.perf_counter() - began >= seconds

    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session, number) for number in range(clients)))
        rate = len(taken) * images / (time.perf_counter() - began)
    return Measured(images_per_s=rate, seconds=taken, groups=groups)


def _show(rows: Mapping[str, Sequence[Measured]]) -> None:
    print(
        f"{'':16s}{'images/s':>10s}{'over bare':>11s}{'over one':>10s}{'p50 s':>9s}{'p95 s':>9s}{'groups/batch':>14s}"
    )
    rates = {name: np.array([measured.images_per_s for measured in row]) for name, row in rows.items()}
    for name, row in rows.items():
        taken = np.array([seconds for measured in row for seconds in measured.seconds])
        groups = np.mean([count for measured in row for count in measured.groups])
        bare, one = (np.median(rates[name] / rates[other]) for other in ("bare generator", "one client"))
        print(
            f"{name:16s}{np.median(rates[name]):10.3f}{bare:11.2f}{one:10.2f}{np.quantile(taken, 0.5):9.3f}"
            f"{np.quantile(taken, 0.95):9.3f}{groups:14.2f}"
        )
