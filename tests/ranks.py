"""Ranks for the parity tests: a few forked processes that divide a pipeline as a replica's ranks do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from models.generator import Generator
from models.parallel.layout import Layout
from models.parallel.shards import Axis
from models.spec import Group, ModelSpec

Batch = list[Group]

_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one rank made: float images [B, 3, H, W] of each batch, and the text [rows, tokens] that its blocks saw."""

    images: list[NDArray[np.float32]]
    text: list[tuple[int, int]]


class Deaf(Axis):
    """An axis on which a rank hears nothing of the others, as if a collective had been forgotten."""

    def sum(self, part: torch.Tensor) -> torch.Tensor:
        return part

    def gather_rows(self, piece: torch.Tensor, total: int) -> torch.Tensor:
        return piece if len(piece) == total else piece.repeat(self.size, *[1] * (piece.dim() - 1))[:total]


def make(generator: Generator, batches: Sequence[Batch]) -> Made:
    """Run the batches, and note the floats before they are rounded."""
    images: list[NDArray[np.float32]] = []
    text: list[tuple[int, int]] = []
    pipe = generator._pipe
    decode, block = pipe.vae.decode, pipe.transformer.transformer_blocks[0]

    def noting(*args: Any, **kwargs: Any) -> Any:
        decoded = decode(*args, **kwargs)
        images.append(decoded[0].numpy())
        return decoded

    def see(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(tuple(kwargs["encoder_hidden_states"].shape[:2]))

    pipe.vae.decode = noting
    watcher = block.attn.register_forward_pre_hook(see, with_kwargs=True)
    try:
        for batch in batches:
            seen: list[tuple[int, int]] = []
            generator.generate(batch)
            text.append(seen[0])
    finally:
        pipe.vae.decode = decode
        watcher.remove()
    return Made(images=images, text=text)


def divided(folder: Path, path: str, layout: Layout, batches: Sequence[Batch], deaf: str = "") -> list[Made]:
    """What each rank of a layout makes. deaf: an axis whose collectives are left out of the interventions."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["models.generator", "tests.ranks"])
    store = folder / "-".join(map(str, (layout.cfg, layout.group, layout.context, deaf)))
    ends = [context.Pipe(duplex=False) for _ in range(layout.ranks)]
    processes = [
        context.Process(target=_rank, args=(rank, path, layout, str(store), batches, deaf, ends[rank][1]))
        for rank in range(layout.ranks)
    ]
    for process in processes:
        process.start()
    try:
        for receiver, _ in ends:
            assert receiver.poll(_SECONDS), "a rank does not answer"
        return [receiver.recv() for receiver, _ in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _rank(rank: int, path: str, layout: Layout, store: str, batches: list[Batch], deaf: str, answer: Any) -> None:
    import os

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "cpu:gloo",
        store=dist.FileStore(store, layout.ranks),
        rank=rank,
        world_size=layout.ranks,
        timeout=timedelta(seconds=_SECONDS),
    )
    generator = Generator(ModelSpec(path=path, dtype="float32", device="cpu"), layout)
    if deaf:
        axis: Axis = getattr(generator._shards, deaf)
        plugged = Deaf(size=axis.size, rank=axis.rank, process_group=axis.process_group)
        generator._shards = replace(generator._shards, **{deaf: plugged})
    made = make(generator, batches)
    dist.barrier()  # who has answered is ended, and would break the others' last collective
    answer.send(made)
