"""progress.json: how far the run is and where its time went, over all sessions; a script may poll it at any time."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from pipelines.dataset.storage import Storage, is_s3
from pipelines.errors import UserError

FILE = "progress.json"
_EVERY_SECONDS, _EVERY_SECONDS_S3 = 2.0, 20.0

Timings = dict[str, Any]
"""sessions, wall_seconds, images (made in them), busy_seconds: part of a stage -> seconds over all workers."""


class ProgressFile:
    """The file while a job runs. It begins with what earlier sessions left, so a kill loses some seconds at most.

    images: of the whole run; done: those that earlier sessions made or gave up; workers: stage -> how many.
    """

    def __init__(self, output: Storage, *, images: int, done: int, workers: dict[str, int]) -> None:
        self._output = output
        self._images = images
        self._done = done
        self._workers = workers
        self._before = timings(output) or {}
        self._began = time.monotonic()
        self._written = -_EVERY_SECONDS_S3
        self._now: dict[str, Any] = {"stages": {}, "made": 0, "failures": {}, "busy_seconds": {}}

    def update(self, snapshot: dict[str, Any]) -> None:
        """snapshot: what `Tracker.snapshot` says. Writes the file if the last time is long enough ago."""
        self._now = snapshot
        every = _EVERY_SECONDS_S3 if is_s3(self._output.uri) else _EVERY_SECONDS
        if time.monotonic() - self._written >= every:
            self._write("running")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Note how the session ends."""
        self._write("running")
        state = "failed"
        try:
            yield
            state = "finished"
        except (KeyboardInterrupt, SystemExit):
            state = "stopped"
            raise
        finally:
            self._write(state)

    def _write(self, state: str) -> None:
        self._written = time.monotonic()
        seconds = time.monotonic() - self._began
        stages = {stage: round(self._done + images, 1) for stage, images in self._now["stages"].items()}
        passed = self._now["stages"].get("write", 0)
        rate = passed / seconds if seconds > 0 else 0.0
        left = self._images - self._done - passed
        content = {
            "state": state,
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "images": self._images,
            "images_done": self._images if state == "finished" else round(self._done + passed),
            "images_per_second": round(rate, 4),
            "eta_seconds": 0 if state == "finished" else round(left / rate) if rate > 0 else None,
            "stages": stages,
            "failed_groups_this_session": self._now["failures"],
            "timings": self._timings(seconds),
        }
        with suppress(UserError):  # a run must not end for its progress file: the stages find out what is wrong
            self._output.write_bytes(FILE, (json.dumps(content, indent=1) + "\n").encode())

    def _timings(self, seconds: float) -> Timings:
        busy: Counter[str] = Counter(self._before.get("busy_seconds", {}))
        busy.update(self._now["busy_seconds"])
        return {
            "sessions": self._before.get("sessions", 0) + 1,
            "wall_seconds": round(self._before.get("wall_seconds", 0.0) + seconds, 1),
            "images": self._before.get("images", 0) + self._now["made"],
            "workers": self._workers,
            "busy_seconds": {part: round(value, 1) for part, value in sorted(busy.items())},
        }


def timings(output: Storage) -> Timings | None:
    """What the sessions of a run took so far; None where no session made anything."""
    try:
        content = json.loads(output.read_bytes(FILE))
    except (FileNotFoundError, ValueError):
        return None
    found: Timings | None = content.get("timings")
    return found
