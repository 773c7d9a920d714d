"""Several ranks as one generator: starts their processes, sends them batches, detects dead and hung ones."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.drawn import Drawn
from models.generator import Generator
from models.info import ModelInfo
from models.parallel.division import Ranks
from models.previews import Previews
from models.replica.rank import STOP, Assignment
from models.spec import Group, ModelSpec

OnStep = Callable[[int, int], None]

_SECONDS_TO_AGREE = 10.0
"""Ranks that fail for the same reason report it within this many seconds of each other; after a rank that fails alone,
the others hang."""
_LOOPBACK = "lo"


class RankLost(RuntimeError):
    """A rank died or hung, and its batch with it."""


class Replica:
    """A generator of several processes on this machine, with the interface of `Generator`.

    The ranks meet through a file in a folder of their own (NCCL not before a collective's first use) and talk over the
    loopback interface: replicas on one machine cannot meet each other, and no port is open to other machines.

    spec: which model.
    ranks: the number of processes, and how they share a batch.

    Raises:
        ModelError: when `Generator` raises it in a rank.
        RankLost: when ranks died twice while they loaded the model.
    """

    info: ModelInfo
    """As of `Generator`."""
    peak_memory_bytes: int
    """As of `Generator`, of the rank that needed most."""

    def __init__(self, spec: ModelSpec, ranks: Ranks) -> None:
        self._assignment = Assignment(spec=spec, ranks=ranks, rank=0, folder="")
        self._ranks: list[_Process] = []
        self._folder = ""
        self.peak_memory_bytes = 0
        try:
            self._start()
        except RankLost:
            self._start()

    def generate(self, groups: Sequence[Group], on_step: OnStep | None = None) -> list[NDArray[np.uint8]]:
        """As `Generator.generate`."""
        return [drawn.pixels for drawn in self.draw(groups, on_step)]

    def draw(
        self, groups: Sequence[Group], on_step: OnStep | None = None, previews: Previews | None = None
    ) -> list[Drawn]:
        """Make the images of several groups; arguments, result and errors as of `Generator.draw`. It has
        no previews, as `info` says.

        When ranks are lost, all are restarted and the same batch is made once more, with the same result.

        Raises:
            RankLost: when ranks are lost again.
        """
        if not self._ranks:
            self._start()
        try:
            return self._make(groups, on_step)
        except RankLost:
            self._start()
            return self._make(groups, on_step)

    def close(self) -> None:
        """End all ranks. The replica starts them again when it is used again."""
        for rank in self._ranks:
            rank.kill()
        self._ranks = []
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_ranks"):
            self.close()

    def _start(self) -> None:
        self.close()
        self._folder = tempfile.mkdtemp(prefix="raydiance-ranks-")
        for number in range(self._assignment.ranks.count):
            self._ranks.append(_Process(self._folder))
            self._ranks[-1].send(replace(self._assignment, rank=number, folder=self._folder))
        self.info = self._answers(None, timeout_s=None)[0]

    def _make(self, groups: Sequence[Group], on_step: OnStep | None) -> list[Drawn]:
        for rank in self._ranks:
            rank.send(list(groups))
        answers = self._answers(on_step, timeout_s=self._assignment.ranks.timeout_s)
        self.peak_memory_bytes = max(peak for _, peak in answers)
        drawn: list[Drawn] = answers[0][0]
        return drawn

    def _answers(self, on_step: OnStep | None, *, timeout_s: float | None) -> list[Any]:
        """The answer of each rank to a request. Where all ranks report errors, rank 0's is raised, and they stay.

        Where one dies, hangs or fails alone, all are ended: the others wait for it in the middle of a step.
        """
        waiting = {rank.connection: number for number, rank in enumerate(self._ranks)}
        answers: list[Any] = [None] * len(self._ranks)
        errors: dict[int, Exception] = {}
        stopped: BaseException | None = None
        while waiting:
            ready = wait(list(waiting), timeout=_SECONDS_TO_AGREE if errors else timeout_s)
            if not ready:
                self.close()
                hung = RankLost(f"no denoising step for {timeout_s} s: ranks {sorted(waiting.values())} hang")
                raise min(errors.items())[1] if errors else hung
            for connection in ready:
                number = waiting[connection]  # type: ignore[index] # `wait` returns what it was given
                try:
                    kind, value = self._ranks[number].connection.recv()
                except (EOFError, OSError):
                    status = self._ranks[number].kill()
                    self.close()
                    raise RankLost(f"rank {number} of {len(answers)} died with exit status {status}") from None
                if kind != "step":
                    del waiting[connection]  # type: ignore[arg-type]
                    answers[number] = value
                    if kind == "error":
                        errors[number] = value
                elif on_step is not None and stopped is None:
                    try:
                        on_step(*value)
                    except BaseException as error:
                        stopped = error
                        self._ranks[number].send(STOP)
        if stopped is not None:
            raise stopped
        if errors:
            raise min(errors.items())[1]
        return answers


def open_generator(spec: ModelSpec, ranks: Ranks) -> Generator | Replica:
    """Load the model in this process or, for several ranks, in the processes of a replica.

    Sets the number of torch's CPU threads in this process too, where `ranks.threads` is above 0.

    spec: which model.
    ranks: the number of processes, and how they share a batch.

    Raises:
        ModelError: when `Generator` raises it.
        RankLost: when `Replica` raises it.
    """
    if ranks.threads:
        torch.set_num_threads(ranks.threads)
    return Generator(spec) if ranks.count == 1 else Replica(spec, ranks)


class _Process:
    """The process of one rank, as its owner sees it."""

    def __init__(self, folder: str) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        descriptors = (theirs.fileno(), lifeline)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from models.replica.rank import main; main()", *map(str, descriptors), folder],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
                "GLOO_SOCKET_IFNAME": _LOOPBACK,
                "NCCL_SOCKET_IFNAME": _LOOPBACK,
            },
        )
        os.close(lifeline)
        theirs.close()
        self.connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # a dead rank is noticed when its answer is read
            self.connection.send(message)

    def kill(self) -> int:
        """Kill the process, and return its exit status."""
        if not self.connection.closed:
            self.connection.close()
            os.close(self._lifeline)
        self._process.kill()
        return self._process.wait()
