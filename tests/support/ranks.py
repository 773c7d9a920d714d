"""Ranks for the parity tests: a few forked processes that divide a pipeline as a replica's ranks do."""

from __future__ import annotations

import copy
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from models import generator as module
from models.generator import Generator
from models.hooks.record import Floats
from models.loading.load import load
from models.parallel.division import Division
from models.parallel.shards import Axis
from models.spec import Group, ModelSpec

Batch = list[Group]

_SECONDS = 800


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a process made: floats [B, 3, (frames,) H, W] of each batch, not rounded; for each of its groups the
    numbers of the edits of its text; text [rows, tokens] that its first block saw in each; and how often it called that
    block in all."""

    images: list[NDArray[np.float32]]
    edits: list[list[Mapping[str, Floats]]]
    text: list[tuple[int, int]]
    calls: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A division; deaf: an axis whose collectives are left out."""

    division: Division
    deaf: str = ""


class Deaf(Axis):
    """An axis on which a rank hears nothing of the others, as if a collective had been forgotten."""

    def sum(self, part: torch.Tensor) -> torch.Tensor:
        return part

    def gather(self, piece: torch.Tensor, dim: int, total: int) -> torch.Tensor:
        return piece.index_select(dim, torch.arange(total) % piece.shape[dim])


def make(generator: Generator, batches: Sequence[Batch]) -> Made:
    """Run the batches and watch."""
    images: list[NDArray[np.float32]] = []
    edits: list[list[Mapping[str, Floats]]] = []
    seen: list[tuple[int, int]] = []
    first: list[int] = []
    pipe = generator._pipe
    decode = pipe.vae.decode

    def noting(*args: Any, **kwargs: Any) -> Any:
        decoded = decode(*args, **kwargs)
        images.append(decoded[0].numpy())
        return decoded

    def see(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(tuple(kwargs["encoder_hidden_states"].shape[:2]))

    pipe.vae.decode = noting
    watcher = pipe.transformer.transformer_blocks[0].attn.register_forward_pre_hook(see, with_kwargs=True)
    try:
        for batch in batches:
            first.append(len(seen))
            edits.append([drawn.edits for drawn in generator.draw(batch)])
    finally:
        pipe.vae.decode = decode
        watcher.remove()
    return Made(images=images, edits=edits, text=[seen[i] for i in first], calls=len(seen))


def divided(folder: Path, path: str, shapes: Sequence[Shape], batches: Sequence[Batch]) -> list[list[Made]]:
    """What each rank makes, for each of some shapes of equally many ranks."""
    ranks = shapes[0].division.ranks
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.ranks"])
    ends = [context.Pipe(duplex=False) for _ in range(ranks)]
    processes = [
        context.Process(target=_rank, args=(rank, path, shapes, str(folder / "store"), batches, ends[rank][1]))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    try:
        answers = []
        for receiver, _ in ends:
            assert receiver.poll(_SECONDS), "a rank does not answer"
            answers.append(receiver.recv())
        return [list(of_shape) for of_shape in zip(*answers, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _rank(rank: int, path: str, shapes: Sequence[Shape], store: str, batches: list[Batch], answer: Any) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    ranks = shapes[0].division.ranks
    dist.init_process_group(
        "cpu:gloo",
        store=dist.FileStore(store, ranks),  # type: ignore[attr-defined] # it is public, but torch does not say so
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=_SECONDS),
    )
    spec = ModelSpec(path=path, dtype="float32", device="cpu")
    loaded = load(spec)

    def load_again(spec: ModelSpec) -> Any:
        return copy.deepcopy(loaded)

    setattr(module, "load", load_again)  # noqa: B010 (it is another module's); loading takes longer than all the rest
    made = []
    for shape in shapes:
        generator = Generator(spec, shape.division)
        if shape.deaf:
            axis: Axis = getattr(generator._shards, shape.deaf)
            plugged = Deaf(size=axis.size, rank=axis.rank, process_group=axis.process_group)
            generator._shards = replace(generator._shards, **{shape.deaf: plugged})
        made.append(make(generator, batches))
    dist.barrier()  # who has answered is ended, and would break the others' last collective
    answer.send(made)


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Has the process ended (a zombie has) within so many seconds?"""
    for _ in range(int(seconds * 20)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
