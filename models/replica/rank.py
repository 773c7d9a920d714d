"""One rank of a replica: a process that loads the model and does its share of every batch.

`replica.py` starts it, with two inherited file descriptors as arguments (requests, and a lifeline) and the folder where
the ranks meet. It exits when the process that owns it has ended, for whatever reason: the lifeline is then closed.
"""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import sys
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from models.errors import ModelError, out_of_memory
from models.families.base import Family
from models.generator import Generator
from models.parallel.division import Division, Ranks, division
from models.plugins import load as load_plugins
from models.spec import ModelSpec

STOP = "stop"
"""Message that ends the current batch at its next step."""

_COLLECTIVE_TIMEOUT = 2.0
"""Timeout of the collectives, as a multiple of the owner's timeout. The owner must notice first that a rank hangs: it
tries again with new ranks, while a timeout in a rank is an error."""


class Interrupted(Exception):
    """The owner has cancelled the batch."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The first message to a rank."""

    spec: ModelSpec
    """Which model."""
    ranks: Ranks
    """All ranks of the replica."""
    rank: int
    """The number of this one, from 0."""
    folder: str
    """Where the ranks meet; no other replica uses it."""


def main() -> None:
    """Run a rank until its owner ends. Arguments of the process: request descriptor, lifeline descriptor, folder."""
    owner = Connection(int(sys.argv[1]))
    threading.Thread(target=_exit_with_owner, args=(int(sys.argv[2]), sys.argv[3]), daemon=True).start()
    assignment: Assignment = owner.recv()
    try:
        generator = _join(assignment)
    except Exception as error:
        _report(owner, error)
        return
    owner.send(("ready", generator.info))
    while (groups := _next_request(owner)) is not None:
        if groups == STOP:  # it arrived after the batch had ended
            continue
        try:
            drawn = generator.draw(groups, _StepReport(owner, assignment.rank))
        except Exception as error:
            _report(owner, error)
            full = out_of_memory(error)
        else:
            owner.send(("done", (drawn if assignment.rank == 0 else None, generator.peak_memory_bytes)))
            continue
        if full and torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


def _next_request(owner: Connection) -> Any:
    try:
        return owner.recv()
    except EOFError:  # the owner has closed this end first
        return None


def _exit_with_owner(lifeline: int, folder: str) -> None:
    os.read(lifeline, 1)  # returns when the other end is closed
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _join(assignment: Assignment) -> Generator:
    ranks, spec = assignment.ranks, assignment.spec
    load_plugins(ranks.plugins)
    if ranks.threads:
        torch.set_num_threads(ranks.threads)
    device, backend = spec.device, "cpu:gloo"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        if torch.cuda.device_count() < ranks.count:
            raise ModelError(
                f"{ranks.count} GPUs per replica are asked for, but this process sees {torch.cuda.device_count()}"
            )
        device, backend = f"cuda:{assignment.rank}", "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=dist.FileStore(f"{assignment.folder}/store", ranks.count),  # type: ignore[attr-defined] # it is public, but torch does not say so
        rank=assignment.rank,
        world_size=ranks.count,
        timeout=timedelta(seconds=_COLLECTIVE_TIMEOUT * ranks.timeout_s),
    )
    return Generator(replace(spec, device=device), partial(_division, assignment))


def _division(assignment: Assignment, family: Family) -> Division:
    ranks = assignment.ranks
    guided = ranks.guided and family.layout != "distilled"
    return division(ranks.parallelism, ranks.count, images=ranks.images, guided=guided)


class _StepReport:
    """Reports every step to the owner, and stops all ranks at the same step when the owner cancels the batch."""

    def __init__(self, owner: Connection, rank: int) -> None:
        self.owner, self.rank = owner, rank

    def __call__(self, done: int, of: int) -> None:
        stop = torch.zeros(1)
        if self.rank == 0:
            self.owner.send(("step", (done, of)))
            if self.owner.poll():
                self.owner.recv()
                stop += 1
        dist.broadcast(stop, src=0)
        if stop:
            raise Interrupted


def _report(owner: Connection, error: Exception) -> None:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    owner.send(("error", error))
