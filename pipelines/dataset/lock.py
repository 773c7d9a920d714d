"""One job at a time writes to an output folder: a lock file with a heartbeat, on local disks and in S3 alike.

A job that dies leaves its lock file. On the same machine the next job sees at once that the process is gone; on another
machine it watches whether the heartbeat still changes, which needs no synchronised clocks. If two jobs still take the
lock at the same moment (S3 servers without conditional writes), one of them reads the other's name at its next
heartbeat and stops; until then both write the same bytes to the same files.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipelines.dataset.storage import Storage
from pipelines.errors import UserError

FILE = "run.lock"
BEAT_SECONDS = 15.0
"""Time between two heartbeats."""

_LONGEST_BEAT_SECONDS = 600.0
_BEATS_TO_WATCH = 3
_TRIES = 100
_POLL_SECONDS = 1.0


class RunLock:
    """The lock of an output folder, held while `with` runs; entering raises UserError where another job holds it.

    output: the folder.
    broken: remove another job's lock first, whether it is alive or not.
    beat_seconds: time between two heartbeats.
    """

    def __init__(self, output: Storage, *, broken: bool = False, beat_seconds: float = BEAT_SECONDS) -> None:
        self._output = output.at_the_start  # a job takes its lock first
        self._broken = broken
        self._mine = {"owner": uuid.uuid4().hex, "beat_seconds": beat_seconds, **_this_process()}
        self._beat = 0
        self._released = threading.Event()
        self._taken_by: dict[str, Any] | None = None
        self._heart = threading.Thread(target=self._send_heartbeats, daemon=True)

    def __enter__(self) -> Self:
        if self._broken:
            self._output.remove(FILE)
        for _ in range(_TRIES):
            if self._output.create_bytes(FILE, self._content()):
                break
            theirs = self._read()
            if theirs is not None:
                self._refuse_if_alive(theirs)
                self._output.remove(FILE)
        else:
            raise UserError(f"{self._output.path(FILE)} can neither be written nor read; remove it, and start again")
        self.check()
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._released.set()
        self._heart.join()
        if self._owner() == self._mine["owner"]:
            self._output.remove(FILE)

    def check(self) -> None:
        """Check that this job still has the lock.

        Raises:
            UserError: when another job has taken it.
        """
        if not self._heart.is_alive():
            self._check_owner()
        if self._taken_by is not None:
            raise UserError(
                f"{self._output.path(FILE)} was taken over by {_describe(self._taken_by)}, so this job stops. "
                "Finished shards stay."
            )

    def _refuse_if_alive(self, theirs: dict[str, Any]) -> None:
        if theirs.get("machine") == self._mine["machine"]:
            alive = theirs.get("started") == _started(theirs.get("pid"))
        else:
            alive = self._heartbeat_changes(theirs)
        if alive:
            raise UserError(
                f"{self._output.path(FILE)}: {_describe(theirs)} is writing to this folder. Wait for it, stop it, or "
                "choose another run.output; if you are sure that it is gone, add --break-lock."
            )

    def _heartbeat_changes(self, theirs: dict[str, Any]) -> bool:
        beat = theirs.get("beat_seconds")
        seconds = beat if isinstance(beat, int | float) and 0 < beat <= _LONGEST_BEAT_SECONDS else BEAT_SECONDS
        give_up = time.monotonic() + _BEATS_TO_WATCH * seconds
        while time.monotonic() < give_up:
            time.sleep(_POLL_SECONDS)
            now = self._read()
            if now is None:
                return False
            if (now.get("owner"), now.get("beat")) != (theirs.get("owner"), theirs.get("beat")):
                return True
        return False

    def _send_heartbeats(self) -> None:
        while not self._released.wait(self._mine["beat_seconds"]) and self._taken_by is None:
            try:
                self._check_owner()
                if self._taken_by is None:
                    self._beat += 1
                    self._output.write_bytes(FILE, self._content())
            except UserError:
                continue  # the stages report storage that fails; the lock is still held

    def _check_owner(self) -> None:
        current = self._read()
        if current is not None and current.get("owner") != self._mine["owner"]:
            self._taken_by = current

    def _owner(self) -> Any:
        return (self._read() or {}).get("owner")

    def _read(self) -> dict[str, Any] | None:
        return read(self._output)

    def _content(self) -> bytes:
        return json.dumps({**self._mine, "beat": self._beat}).encode()


def read(folder: Storage) -> dict[str, Any] | None:
    """The content of the lock file of a folder; None where there is none, and {} where it is not valid."""
    try:
        content = json.loads(folder.read_bytes(FILE))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _this_process() -> dict[str, Any]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = f"{socket.gethostname()} {boot.read_text().strip() if boot.exists() else ''}"
    submission = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("metadata", {})
    return {
        "machine": machine,
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": submission.get("job_submission_id", ""),
    }


def _started(pid: Any) -> str:
    """Start time of a process of this machine, as the kernel gives it; "" where it gives none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        return ""


def _describe(lock: dict[str, Any]) -> str:
    job = f", Ray job {lock['job']}" if lock.get("job") else ""
    return f"process {lock.get('pid', '?')} on {str(lock.get('machine', '?')).split(' ')[0]}{job}"
